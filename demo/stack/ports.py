"""The ports that the demo listens on, all on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection
from dataclasses import asdict, dataclass

import psutil

from demo.errors import DemoPortTaken, StackError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """One port per server. The defaults are those of the projects themselves."""

    webui: int = 3000
    guard: int = 8000
    pipelines: int = 9099
    chat: int = 9100

    @classmethod
    def from_environment(cls) -> Ports:
        """Reads WEBUI_PORT, GUARD_PORT, PIPELINES_PORT and CHAT_PORT. Raises `StackError` if one is not a port."""
        given = {}
        for name in asdict(cls()):
            if text := os.environ.get(_variable(name)):
                if not (text.isdecimal() and 0 < int(text) < 65536):
                    raise StackError(f"{_variable(name)}={text} is not a port: give a number from 1 to 65535.")
                given[name] = int(text)
        return cls(**given)

    @classmethod
    def free(cls) -> Ports:
        """Four ports that are free at the moment."""
        with contextlib.ExitStack() as stack:
            sockets = {name: stack.enter_context(socket.socket()) for name in asdict(cls())}
            for free in sockets.values():
                free.bind((HOST, 0))
            return cls(**{name: free.getsockname()[1] for name, free in sockets.items()})

    def check_free(self, names: Collection[str]) -> None:
        """Raises `DemoPortTaken` for the first of the named servers whose port is in use."""
        for name in names:
            port = getattr(self, name)
            with socket.socket() as probe:
                # As the servers themselves do: a port in TIME_WAIT counts as free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise DemoPortTaken(
                        f"Port {port}, needed for {name}, is taken{_user_of(port)}. Stop that program (`make stop` if "
                        f"it is an earlier `make run`), or choose another port: {_variable(name)}=NUMBER make run"
                    ) from error


def _variable(name: str) -> str:
    return f"{name.upper()}_PORT"


def _user_of(port: int) -> str:
    """` by NAME (pid N)`, or "" if the system does not show it (the process may be another user's)."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("inet"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
            if listening and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
