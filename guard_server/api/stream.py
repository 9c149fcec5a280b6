"""`/v1/guard/stream`: an answer judged while it grows, over a WebSocket or by plain POST. See docs/guard-stream.md."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from guard_server.api.errors import ApiError, Invalid
from guard_server.api.exchange import CLIENT_LEFT, unless_gone
from guard_server.api.labels import Reading
from guard_server.api.live import LiveStream, Progress
from guard_server.api.sessions import Limits, Sessions
from guard_server.api.stream_errors import Conflict, Idle, TooMuch
from moderation.conversation import Turn
from moderation.verdict import Category, Severity

PATH = "/v1/guard/stream"
_QUEUED = 256
"""Messages that wait for a judgement under way; further ones wait in the network."""


class Message(BaseModel):
    """One turn of the conversation that the answer answers."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: str


class Piece(BaseModel):
    """What a client sends: the conversation once, then text as it comes."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] | None = Field(default=None, min_length=1)
    """Opens a stream; the last one is the user's."""
    allowed_categories: list[Category] = []
    """With `messages`: tokens of these categories are not flagged."""
    id: str | None = None
    """By POST only: the stream that the text belongs to."""
    text: str = ""
    """What comes next of the answer."""
    offset: int | None = Field(default=None, ge=0)
    """Where `text` begins, to be checked: so a text that was sent twice is not judged twice."""
    end: bool = False
    """Whether the answer is complete with this."""


def routes(sessions: Callable[[], Sessions]) -> list[BaseRoute]:
    """The endpoint's routes; `sessions` is asked at each request."""
    endpoint = _Endpoint(sessions)
    return [
        WebSocketRoute(PATH, endpoint.socket),
        Route(PATH, endpoint.post, methods=["POST"]),
        Route(PATH, endpoint.describe, methods=["GET"]),
        Route(PATH + "/{id}", endpoint.drop, methods=["DELETE"]),
    ]


class _Endpoint:
    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        self._provide = sessions

    @property
    def _sessions(self) -> Sessions:
        return self._provide()

    @property
    def _limits(self) -> Limits:
        return self._sessions.limits

    async def describe(self, request: Request) -> Response:
        limits = asdict(self._limits)
        return JSONResponse({"object": "guard.stream", "streams": len(self._sessions), "limits": limits})

    async def drop(self, request: Request) -> Response:
        # One that is gone needs nothing; one that is being judged ends by its silence.
        with suppress(ApiError):
            key = request.path_params["id"]
            self._sessions.take(key)
            self._sessions.close(key)
        return JSONResponse({"deleted": True})

    async def post(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except ApiError as error:
            return JSONResponse(error.body, error.status)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)

    async def _answer(self, request: Request) -> Response:
        piece = self._parse(await self._body(request))
        if piece.id is not None and piece.messages is not None:
            raise Invalid("messages open a stream, an id names an open one: send one of the two", "messages")
        known = None if piece.id is None else self._sessions.take(piece.id)
        key = self._sessions.reserve() if piece.id is None else piece.id
        parked = False
        try:
            stream = known or self._open(key, piece)
            try:
                reply = await unless_gone(request, self._judge(stream, [piece], opening=not known))
            except Conflict:
                # The client is told where to go on from.
                parked = bool(known)
                raise
            parked = not reply["final"]
            return JSONResponse({"id": key if parked else None, **reply})
        finally:
            if parked:
                self._sessions.park(key)
            else:
                self._sessions.close(key)

    async def _body(self, request: Request) -> bytes:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > self._limits.message_bytes:
                raise self._too_large()
        return body

    async def socket(self, socket: WebSocket) -> None:
        try:
            key = self._sessions.reserve()
        except ApiError as error:
            await socket.send_denial_response(JSONResponse(error.body, error.status))
            return
        try:
            await socket.accept()
            with suppress(WebSocketDisconnect):
                try:
                    await self._talk(socket, key)
                    await socket.close()
                except ApiError as error:
                    await socket.send_json(error.body)
                    await socket.close(error.close)
        finally:
            self._sessions.close(key)

    async def _talk(self, socket: WebSocket, key: str) -> None:
        arrived: asyncio.Queue[Piece] = asyncio.Queue(_QUEUED)
        # One task listens all the time, so that a client who leaves ends the judgement that is under way.
        listener = asyncio.create_task(self._listen(socket, arrived))
        judge = asyncio.create_task(self._judge_along(socket, key, arrived))
        try:
            await asyncio.wait({listener, judge}, return_when=asyncio.FIRST_COMPLETED)
            for task in (judge, listener):
                if task.done():
                    task.result()
        finally:
            for task in (judge, listener):
                task.cancel()
            await asyncio.gather(judge, listener, return_exceptions=True)

    async def _listen(self, socket: WebSocket, arrived: asyncio.Queue[Piece]) -> None:
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    message = await socket.receive()
            except TimeoutError:
                raise Idle(f"nothing came for {self._limits.idle_seconds:g} seconds; open another stream") from None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            text = message.get("text")
            if text is None:
                raise Invalid("send JSON as text messages, not binary ones")
            piece = self._parse(text.encode("utf-8", "surrogatepass"))
            if piece.id is not None:
                raise Invalid("a WebSocket is one stream: it has no id", "id")
            await arrived.put(piece)

    async def _judge_along(self, socket: WebSocket, key: str, arrived: asyncio.Queue[Piece]) -> None:
        first = await arrived.get()
        stream = self._open(key, first)
        reply = await self._judge(stream, [first], opening=True)
        await socket.send_json(reply)
        while not reply["final"]:
            pieces = [await arrived.get()]
            # All that came during the last judgement joins the next.
            while not arrived.empty():
                pieces.append(arrived.get_nowait())
            if any(piece.messages is not None for piece in pieces):
                raise Invalid("this stream has its messages: open another one for another conversation", "messages")
            reply = await self._judge(stream, pieces)
            await socket.send_json(reply)

    def _parse(self, message: bytes) -> Piece:
        if len(message) > self._limits.message_bytes:
            raise self._too_large()
        try:
            return Piece.model_validate_json(message)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or None
            raise Invalid(f"{field or 'the message'}: {first['msg']}", field) from None

    def _too_large(self) -> TooMuch:
        return TooMuch(f"a message may have {self._limits.message_bytes} bytes: send the text in smaller parts")

    def _open(self, key: str, piece: Piece) -> LiveStream:
        if piece.messages is None:
            raise Invalid("a stream begins with the conversation that the answer answers", "messages")
        if piece.messages[-1].role != "user":
            raise Invalid("the last message must be the user's; an answer that has begun is `text`", "messages")
        if sum(len(message.content) for message in piece.messages) > self._limits.characters:
            raise TooMuch(f"a conversation may have {self._limits.characters} characters", "messages")
        conversation = [Turn(message.role, message.content) for message in piece.messages]
        return self._sessions.open(key, conversation, piece.allowed_categories)

    async def _judge(self, stream: LiveStream, pieces: list[Piece], *, opening: bool = False) -> dict[str, Any]:
        received = stream.received
        for piece in pieces:
            if piece.offset not in (None, received):
                raise Conflict(f"the text goes on at character {received}, not {piece.offset}", "offset")
            received += len(piece.text)
        if received > self._limits.characters:
            raise TooMuch(f"an answer may have {self._limits.characters} characters", "text")
        if any(piece.end for piece in pieces[:-1]):
            raise Invalid("nothing may come after the end", "end")
        prompt = {"prompt": _reading(await stream.judge_prompt())} if opening else {}
        text = "".join(piece.text for piece in pieces)
        return prompt | _progress(await stream.feed(text, end=pieces[-1].end))


def _reading(reading: Reading) -> dict[str, Any]:
    flagged = reading.severity is not Severity.SAFE
    return {
        "severity": reading.severity,
        "category": reading.category if flagged else None,
        "probabilities": {severity: round(share, 6) for severity, share in reading.probabilities.items()},
    }


def _progress(progress: Progress) -> dict[str, Any]:
    violations = {
        strictness: violation
        and _reading(violation.reading)
        | {"severity": violation.severity, "token": violation.token, "character": violation.character}
        for strictness, violation in progress.violations.items()
    }
    return {
        "received": progress.received,
        "tokens": progress.tokens,
        "severity": progress.severity,
        "cleared": progress.cleared,
        "violations": violations,
        "final": progress.final,
    }
