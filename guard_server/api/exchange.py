"""One JSON object in, one JSON object out: what all moderation routes share."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from guard_server.api.errors import ApiError, Invalid, TooLarge

MAX_BYTES = 2**20
"""Of one request. A megabyte of text is some thirty windows of the guard's default context: seconds of work."""
CLIENT_LEFT = 499

Fields = dict[str, Any]
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")
_AT_A_TIME = 8
"""Texts of a list that are begun without a pause: a few milliseconds on the event loop."""


def exchange(answer: Callable[[Fields, Request], Awaitable[Fields]]) -> Callable[[Request], Awaitable[Response]]:
    """A route's endpoint: `answer` gets the request's fields, and may raise `ApiError`."""

    async def endpoint(request: Request) -> Response:
        try:
            return json_response(await answer(await _fields(request), request))
        except ApiError as error:
            return json_response(error.body, error.status)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)

    return endpoint


def json_response(body: Fields, status: int = 200) -> Response:
    # Escaped to ASCII, unlike Starlette's own: a text with a broken surrogate can be sent back as it came.
    return Response(json.dumps(body), status, media_type="application/json")


async def body_of(request: Request) -> bytes:
    """Raises TooLarge beyond `MAX_BYTES`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise TooLarge(f"a request may have {MAX_BYTES} bytes: send fewer or shorter texts at a time")
    return bytes(body)


async def for_each(work: Callable[[_Given], Coroutine[Any, Any, _Result]], given: Sequence[_Given]) -> list[_Result]:
    """The results of all, at the same time; others get their turn on the event loop while they begin."""
    if len(given) == 1:
        # A task costs as much as all else here.
        return [await work(given[0])]
    tasks: list[asyncio.Task[_Result]] = []
    async with asyncio.TaskGroup() as group:
        for one in given:
            tasks.append(group.create_task(work(one)))
            if len(tasks) % _AT_A_TIME == 0:
                await asyncio.sleep(0)
    return [task.result() for task in tasks]


async def unless_gone(request: Request, work: Awaitable[_Result]) -> _Result:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientDisconnect then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _fields(request: Request) -> Fields:
    try:
        fields = json.loads(await body_of(request))
    except (ValueError, RecursionError):
        raise Invalid("the body is not JSON: send an object, with Content-Type: application/json") from None
    if not isinstance(fields, dict):
        raise Invalid("the body must be a JSON object")
    return fields
