"""What an unstreamed `pipe` returns in the Pipelines server: an answer that holds no thread until it is there."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from webui.bodies import Body


class LaterReply(dict[str, Any], Response):
    """A response that is made while the server's loop awaits it, and ended when its client leaves.

    The Pipelines server hands on what is a dict, as it is; FastAPI serves what is a Response, in its loop.

    Args:
        reply: may be cancelled, which ends the work on it.
        result: what `reply` came to; raises HTTPException.
    """

    def __init__(self, reply: Future[Body], result: Callable[[Future[Body]], Body]) -> None:
        dict.__init__(self)
        Response.__init__(self)
        self._reply = reply
        self._result = result

    def __bool__(self) -> bool:
        # An empty dict is false, and newer FastAPI asserts that there is a response.
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = asyncio.wrap_future(self._reply)
        leaving = asyncio.create_task(_left(receive))
        either: set[asyncio.Future[Any]] = {reply, leaving}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not reply.done() and leaving.exception() is not None:
                # A server that does not say who left is no reason to leave anybody without an answer.
                await asyncio.wait({reply})
            if reply.done():
                await self._made()(scope, receive, send)
        finally:
            leaving.cancel()
            reply.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reply

    def _made(self) -> Response:
        try:
            return JSONResponse(self._result(self._reply))
        except HTTPException as error:
            return JSONResponse({"detail": error.detail}, error.status_code)


async def _left(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
