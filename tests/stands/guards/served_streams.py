"""The stream endpoint in the event loop of a test, so that the test can see its state, with a stub model."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from guard_server.stream import stream_routes
from guard_server.stream.sessions import Limits, Sessions
from tests.stands.guards.stub_stream import StubStream
from tests.stands.servers import KEEP_ALIVE_SECONDS
from tests.stands.waiting import PATIENCE

HELLO = [{"role": "user", "content": "Good morning!"}]


class Served:
    """The endpoint in this event loop, so that a test can see its state."""

    def __init__(self, limits: Limits) -> None:
        self.model = StubStream()
        self.sessions = Sessions(self.model, limits)
        # Small, so that a client that reads nothing is soon detected.
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.port = self.listening.getsockname()[1]
        app = Starlette(routes=stream_routes.routes(lambda: self.sessions))
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="websockets-sansio")
        config.timeout_graceful_shutdown = 1
        config.timeout_keep_alive = KEEP_ALIVE_SECONDS
        self.server = uvicorn.Server(config)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=PATIENCE)

    async def post(self, **body: Any) -> dict[str, Any]:
        reply = await self.http.post(stream_routes.PATH, json=body)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async def refused(self, **body: Any) -> tuple[int, str, str | None]:
        reply = await self.http.post(stream_routes.PATH, json=body)
        error = reply.json()["error"]
        assert error["message"]
        return reply.status_code, error["code"], error["param"]

    def socket(self, **options: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}{stream_routes.PATH}", proxy=None, **options)


@asynccontextmanager
async def served_streams(**limits: Any) -> AsyncIterator[Served]:
    """The endpoint with these values of `Limits`."""
    served = Served(Limits(**limits))
    task = asyncio.create_task(served.server.serve(sockets=[served.listening]))
    while not served.server.started:
        await asyncio.sleep(0.01)
    try:
        yield served
    finally:
        await served.http.aclose()
        served.server.should_exit = True
        await task
        served.listening.close()


async def exchange(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    """Send a message and return the reply."""
    await socket.send(json.dumps(message))
    reply: dict[str, Any] = json.loads(await socket.recv())
    return reply


async def closing(socket: ClientConnection) -> int:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code
