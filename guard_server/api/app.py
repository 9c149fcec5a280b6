"""The moderation routes as a server of their own, in front of any endpoint of Qwen3Guard-Gen."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from guard_server.api import moderation_routes, status
from guard_server.api.auth import BearerAuth
from guard_server.api.error_reply import error_body
from guard_server.api.http_exchange import json_response
from moderation.endpoint.backend import Server
from moderation.guard import Guard
from moderation.policy import Policy

_ENDING = (signal.SIGINT, signal.SIGTERM)
_DESCRIBED = (*moderation_routes.DESCRIBED, *status.DESCRIBED, status.OPENAPI)
_OPEN_PATHS = frozenset(route.path for route in _DESCRIBED if route.is_open)
_OFFERED = ", ".join(f"{route.method} {route.path}" for route in _DESCRIBED)
_GRACE_SECONDS = 30
"""Time for requests in flight at the end; a verdict has its own deadline."""


async def _nothing() -> None:
    pass


def build(
    server: Server,
    policy: Policy,
    key: str | None = None,
    *,
    timeout: float = 10,
    first: Callable[[], Coroutine[Any, Any, None]] = _nothing,
) -> Starlette:
    """An ASGI app with the moderation routes, and with routes about itself. It closes `server` when it ends.

    Args:
        server: judges the texts.
        policy: which verdicts count as flagged.
        key: bearer token that clients must send; None for no authentication.
        timeout: seconds for one verdict.
        first: started together with the app, in the event loop that `server` uses; cancelled when the app ends.
    """
    guard = Guard(server, timeout=timeout)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        beginning = asyncio.create_task(first())
        yield
        beginning.cancel()
        await guard.aclose()

    return Starlette(
        routes=[*moderation_routes.routes(lambda: guard, policy), *status.routes(server, guard)],
        middleware=[Middleware(BearerAuth, key=key, open_paths=_OPEN_PATHS)] if key else [],
        exception_handlers={HTTPException: _as_openai_does},
        lifespan=lifespan,
    )


def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are answered first."""
    # Requests contain private text: none is logged, not even its address.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    # uvicorn raises the signal again after it has stopped: to be ignored.
    before = {number: signal.signal(number, _ignore) for number in _ENDING}
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _as_openai_does(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}; there are {_OFFERED}"
    return json_response(error_body(error.status_code, message), error.status_code)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
