"""The running programs of one stack, under Supervisor (https://supervisord.org)."""

from __future__ import annotations

import configparser
import io
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import httpx
from supervisor.xmlrpc import Faults, SupervisorTransport

from demo.errors import ChildFailed, NotBuilt, NotReady, StackError
from demo.stack.children import Child
from demo.state import State

# A server that still runs this many seconds after SIGTERM is killed.
STOP_SECONDS = 10
SAY_SECONDS = 15


class Processes:
    """Starts, watches and stops the children. Each has its own log.

    Supervisor runs in its own session, so that Ctrl-C reaches only the caller, which then stops everything in order.
    """

    def __init__(self, children: Iterable[Child], state: State) -> None:
        self.children = {child.name: child for child in children}
        self.state = state
        self._stopped_on_purpose: set[str] = set()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._transport: SupervisorTransport | None = None
        self._supervisor: Any = None

    def start_all(self) -> None:
        """Starts all children. Raises `NotBuilt` if the program of one does not exist."""
        for child in self.children.values():
            if not child.python.exists():
                raise NotBuilt(f"{child.name}: {child.python} is missing. Start this through `make`, which builds it.")
            self.state.log(child.name).write_bytes(b"")
        # The path of a Unix socket may have at most 107 bytes, and that of a checkout may be longer.
        self._folder = tempfile.TemporaryDirectory(prefix="supervisor-")
        socket = Path(self._folder.name) / "socket"
        config = self.state.folder / "supervisord.conf"
        config.touch(mode=0o600)
        config.write_text(_config(self.children.values(), self.state, socket))
        with self.state.log("supervisord").open("wb") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(config)],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._transport = SupervisorTransport(serverurl=f"unix://{socket}")
        # The client requires an address; the transport uses the socket.
        self._supervisor = ServerProxy("http://127.0.0.1", transport=self._transport).supervisor
        while not socket.exists():
            self._check_daemon()
            time.sleep(0.05)

    def stop_all(self) -> None:
        """Stops all children and Supervisor itself. Does nothing if nothing runs."""
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait()
            self._daemon = None
        if self._transport:
            self._transport.close()
            self._transport = None
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def start(self, name: str) -> None:
        """Starts a stopped child again."""
        self._stopped_on_purpose.discard(name)
        self._supervisor.startProcess(name)

    def stop(self, name: str) -> None:
        """Stops one child and returns when it has ended. The others keep running."""
        self._stopped_on_purpose.add(name)
        try:
            self._supervisor.stopProcess(name)
        except Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise

    def pid(self, name: str) -> int:
        """The process id of a running child."""
        return int(self._supervisor.getProcessInfo(name)["pid"])

    def check(self) -> None:
        """Raises `ChildFailed` if a child ended by itself."""
        self._check_daemon()
        try:
            known = self._supervisor.getAllProcessInfo()
        except (Fault, OSError, HTTPException) as error:
            raise ChildFailed("Another process is stopping the servers, such as `make stop`.") from error
        for info in known:
            name = info["name"]
            if info["statename"] not in ("STARTING", "RUNNING") and name not in self._stopped_on_purpose:
                status = info["exitstatus"]
                how = info["spawnerr"] if info["statename"] == "FATAL" else f"exit status {status}"
                raise ChildFailed(self._report(name, f"{name} ended by itself ({how if status >= 0 else 'killed'})"))

    def wait_healthy(self, name: str, say: Callable[[str], None]) -> None:
        """Waits until the child answers. Raises `NotReady` after its time limit, `ChildFailed` if any child ends.

        Meanwhile `say` gets the last line of the child's log from time to time, to show that work goes on.
        """
        child = self.children[name]
        now = time.monotonic()
        deadline, next_word = now + child.patience, now + SAY_SECONDS
        while not _answers(child.health):
            self.check()
            now = time.monotonic()
            if now > deadline:
                raise NotReady(self._report(name, f"{name} did not answer at {child.health} in {child.patience:.0f} s"))
            if now > next_word:
                next_word = now + SAY_SECONDS
                say(" ".join([f"{name} is starting:", *self._last_lines(name, 1)])[:120])
            time.sleep(0.3)

    def _check_daemon(self) -> None:
        if self._daemon is None or self._daemon.poll() is not None:
            raise ChildFailed(self._report("supervisord", "Supervisor, which runs the servers, has ended"))

    def _report(self, name: str, what: str) -> str:
        last = (f"  {line}" for line in self._last_lines(name, 15))
        return "\n".join([f"{what}. Its log is {self.state.log(name)}; the last lines:", *last])

    def _last_lines(self, name: str, count: int) -> list[str]:
        return self.state.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-count:]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _environment() -> dict[str, str]:
    """Our environment variables, without those that would change the children's Python, and no proxy for loopback."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1"}


def _config(children: Iterable[Child], state: State, socket: Path) -> str:
    config = configparser.RawConfigParser()
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config["unix_http_server"] = {"file": _escape(socket), "chmod": "0700"}
    config["supervisord"] = {
        "logfile": _escape(state.log("supervisord.events")),
        "pidfile": _escape(state.folder / "supervisord.pid"),
        "loglevel": "info",
    }
    config["supervisorctl"] = {"serverurl": _escape(f"unix://{socket}")}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for child in children:
        config[f"program:{child.name}"] = {
            "command": _escape(shlex.join(child.argv)),
            "directory": _escape(child.cwd),
            "environment": _assignments(child),
            # A server that ends is an error: a restart would hide it.
            "autorestart": "false",
            "startsecs": "0",
            # SIGTERM goes to the server only, which ends its own children; SIGKILL goes to the whole group.
            "killasgroup": "true",
            "stopwaitsecs": str(STOP_SECONDS),
            "redirect_stderr": "true",
            # Supervisor expands this one twice.
            "stdout_logfile": _escape(_escape(state.log(child.name))),
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": "1",
        }
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _escape(text: object) -> str:
    """Supervisor expands `%(name)s` in every value."""
    return str(text).replace("%", "%%")


def _assignments(child: Child) -> str:
    """Environment variables in Supervisor's syntax, which has no escape for a double quote or a line break."""
    for name, value in child.environment.items():
        if '"' in value or "\n" in value:
            raise StackError(f"{child.name}: {name} has a double quote or a line break, which Supervisor cannot pass.")
    return _escape(",".join(f'{name}="{value}"' for name, value in child.environment.items()))
