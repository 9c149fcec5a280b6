"""Reads requests and sends replies, in the same way for all routes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from guard_server.api.error_reply import ApiError, Invalid, TooLarge

MAX_BYTES = 2**20
"""Maximum of one request. A megabyte of text is about thirty windows of the default context: seconds of work."""

_CLIENT_LEFT = 499
_AT_A_TIME = 8
"""Texts of a list that are started without a pause: a few milliseconds on the event loop."""
# In place of pydantic's messages, which are about Python types.
_WORDS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "extra_forbidden": "is not known here: leave it out",
    "too_short": "must have at least {min_length} entry, this one is empty",
    "too_long": "may have {max_length} entries, this one has {actual_length}: send several requests",
}
TAG = "("
"""First character of the tags of union members: pydantic puts tags among the names of fields, but they are none."""

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")
_Shape = TypeVar("_Shape", bound=BaseModel)


def answering(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A route's endpoint: `answer`, which may raise `ApiError` and ClientDisconnect."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except ApiError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_LEFT)

    return endpoint


async def body_of(
    request: Request,
    most: int = MAX_BYTES,
    *,
    arrived: Callable[[int], None] = lambda _: None,
    too_large: ApiError | None = None,
) -> bytes:
    """The request's body.

    Args:
        request: of any method.
        most: bytes.
        arrived: called with the size of each part that arrives; may raise `ApiError`.
        too_large: raised beyond `most`; a TooLarge if it is None.
    """
    body = bytearray()
    async for part in request.stream():
        arrived(len(part))
        body += part
        if len(body) > most:
            raise too_large or TooLarge(f"a request may have {most} bytes: send fewer or shorter texts at a time")
    return bytes(body)


def parsed(body: bytes, shape: type[_Shape], *, surrogates: bool = False) -> _Shape:
    """A request as `shape`.

    Args:
        body: JSON.
        shape: a model.
        surrogates: whether texts may contain lone surrogates (not valid Unicode): some clients cut texts in that way.

    Raises:
        Invalid: it does not match `shape`; the message names the first wrong field and what it must be.
    """
    try:
        return shape.model_validate(_loaded(body)) if surrogates else shape.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None


def json_response(body: object, status: int = 200) -> Response:
    # Escaped to ASCII, unlike Starlette's own: so a text with a lone surrogate can be sent back unchanged.
    return Response(json.dumps(body), status, media_type="application/json")


def error_response(error: ApiError) -> Response:
    return json_response(error.body, error.status)


def model_response(body: BaseModel, *, exclude_unset: bool = False) -> Response:
    return Response(body.model_dump_json(exclude_unset=exclude_unset), media_type="application/json")


async def for_each(work: Callable[[_Given], Coroutine[Any, Any, _Result]], given: Sequence[_Given]) -> list[_Result]:
    """The results of all, computed concurrently. Other tasks can run while these are started."""
    if len(given) == 1:
        # A task costs as much as all the rest here.
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


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _no_json() from None


def _no_json() -> Invalid:
    return Invalid("the request is not JSON: send a JSON object")


def _invalid(error: ValidationError) -> Invalid:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return _no_json()
    field = ""
    for part in first["loc"]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif not part.startswith(TAG):
            field += f".{part}" if field else part
    if not field and first["type"] == "model_type":
        return Invalid("the request must be a JSON object")
    if first["type"] in _WORDS:
        said = " " + _WORDS[first["type"]].format(**first.get("ctx", {}))
    else:
        # An error of a validator of ours, or a rare one.
        said = f": {first['msg']}"
    return Invalid(f"{field or 'the request'}{said}", field or None)
