"""Real HTTP servers for tests, each in its own thread."""

import fcntl
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import uvicorn
from starlette.applications import Starlette

from demo.stack.ports import Ports
from tests.stands.waiting import PATIENCE

KEEP_ALIVE_SECONDS = 75
"""How long servers keep idle connections: longer than clients, which must not reuse one that is just being closed."""

# Below those that Linux chooses by itself, for connections and for servers without a port of their own.
_PORTS = range(20_000, 32_000)
_reserved: list[IO[str]] = []


def free_port() -> int:
    """A port that no other process of tests gets while this process lives, even if nothing listens on it yet."""
    folder = Path(tempfile.gettempdir()) / f"qwen3guard-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(_PORTS, len(_PORTS)):
        reservation = (folder / str(port)).open("w")
        try:
            fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
        else:
            _reserved.append(reservation)
            return port
    raise OSError("no port is free")


def free_ports() -> Ports:
    """Such a port for each server of a stack."""
    return Ports(free_port(), free_port(), free_port(), free_port())


@contextmanager
def serve(app: Starlette, port: int | None = None) -> Iterator[str]:
    """Serve `app` on loopback; yields its address."""
    # Bound here, so that no other test can take the port before the server does.
    listening = socket.create_server(("127.0.0.1", port or 0))
    # Connections inherit it. Without it, a two-part answer waits 40 ms: asyncio sets it only on sockets that name TCP.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_keep_alive=KEEP_ALIVE_SECONDS))
    server.config.timeout_graceful_shutdown = 1
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()
