"""`/v1/guard/stream`: an answer judged while it grows, over a WebSocket or by plain POST. See docs/guard-stream.md."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import ApiError, Busy, Invalid
from guard_server.api.http_exchange import body_of, error_response, model_response, parsed, unless_gone
from guard_server.stream.head_labels import TokenVerdict
from guard_server.stream.inbox import Inbox
from guard_server.stream.live_stream import LiveStream, Progress, Violation
from guard_server.stream.sessions import Limits, Sessions
from guard_server.stream.stream_errors import Conflict, Full, GuardFailed, Idle, TooMuch, UnknownStream
from moderation.conversation import as_conversation
from moderation.stream.stream_schema import (
    STREAM_PATH,
    StreamCleared,
    StreamDropped,
    StreamOffer,
    StreamReading,
    StreamReply,
    StreamRequest,
    StreamViolation,
    StreamViolations,
)
from moderation.verdict import Severity

PATH = f"/v1{STREAM_PATH}"
JUDGE_STREAM = DescribedRoute(
    "POST",
    PATH,
    "Open a stream, or send the next text of an open one.",
    (StreamReply,),
    StreamRequest,
    (Invalid, UnknownStream, Conflict, TooMuch, Idle, Full, Busy, GuardFailed),
    note="A WebSocket at the same address takes the same requests as messages, without `id`, and answers each "
    "judgement with the same reply, without `id`; an error is a message, and then the socket is closed.",
)
STREAM_OFFER = DescribedRoute("GET", PATH, "Whether the server has this endpoint, and its bounds.", (StreamOffer,))
DROP_STREAM = DescribedRoute("DELETE", f"{PATH}/{{id}}", "Close an open stream.", (StreamDropped,))
_OBJECT_BYTES = 1024
"""Approximate memory of a message or a turn in addition to its text."""
_REASON_BYTES = 120
"""Maximum of bytes of a reason; a close frame allows 123 (RFC 6455, section 5.5)."""


def routes(sessions: Callable[[], Sessions]) -> list[BaseRoute]:
    """The endpoint's routes; `sessions` is asked at each request."""
    endpoint = _StreamEndpoint(sessions)
    return [
        WebSocketRoute(PATH, endpoint.socket),
        JUDGE_STREAM.at(endpoint.post),
        STREAM_OFFER.at(endpoint.describe),
        DROP_STREAM.at(endpoint.drop),
    ]


class _StreamEndpoint:
    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        self._provide = sessions

    @property
    def _sessions(self) -> Sessions:
        return self._provide()

    @property
    def _limits(self) -> Limits:
        return self._sessions.limits

    async def describe(self, request: Request) -> Response:
        offer = StreamOffer(object="guard.stream", streams=len(self._sessions), limits=asdict(self._limits))
        return model_response(offer)

    async def drop(self, request: Request) -> Response:
        # A stream that is gone needs nothing; one that is being judged ends when it has been idle for too long.
        with suppress(ApiError):
            key = request.path_params["id"]
            self._sessions.take(key)
            self._sessions.close(key)
        return model_response(StreamDropped())

    async def post(self, request: Request) -> Response:
        held, seconds = 0, self._limits.message_seconds

        def arrived(size: int) -> None:
            nonlocal held
            self._sessions.in_flight.take_now(size)
            held += size

        try:
            try:
                async with asyncio.timeout(seconds):
                    body = await body_of(
                        request, self._limits.message_bytes, arrived=arrived, too_large=self._too_large()
                    )
            except TimeoutError:
                raise Idle(f"the request was not complete within {seconds:g} seconds") from None
            return await self._reply(request, parsed(body, StreamRequest))
        finally:
            # All bytes that were received are counted.
            self._sessions.in_flight.give_back(held)

    async def _reply(self, request: Request, piece: StreamRequest) -> Response:
        if piece.id is not None and piece.messages is not None:
            raise Invalid("messages open a new stream, an id names an open one: send one of the two", "messages")
        known = None if piece.id is None else self._sessions.take(piece.id)
        key = self._sessions.reserve() if piece.id is None else piece.id
        parked = False
        try:
            stream = known or self._open(key, piece)
            try:
                reply = await unless_gone(request, self._judge(stream, [piece], opening=not known))
            except Conflict:
                # The error says where to continue, so the stream stays open.
                parked = bool(known)
                raise
            parked = not reply.final
            return model_response(reply.model_copy(update={"id": key if parked else None}), exclude_unset=True)
        finally:
            if parked:
                self._sessions.park(key)
            else:
                self._sessions.close(key)

    async def socket(self, socket: WebSocket) -> None:
        try:
            key = self._sessions.reserve()
        except ApiError as error:
            await socket.send_denial_response(error_response(error))
            return
        try:
            await socket.accept()
            with suppress(WebSocketDisconnect):
                try:
                    await self._talk_in_time(socket, key)
                    await socket.close()
                except ApiError as error:
                    await self._refuse(socket, error)
        finally:
            self._sessions.close(key)

    async def _refuse(self, socket: WebSocket, error: ApiError) -> None:
        """Send `error` and close. If the client does not read, the connection ends without it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.reply_seconds):
                await socket.send_json(error.body)
                await socket.close(error.close, str(error).encode()[:_REASON_BYTES].decode(errors="ignore"))

    async def _talk_in_time(self, socket: WebSocket, key: str) -> None:
        seconds = self._limits.stream_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._talk(socket, key)
        except TimeoutError:
            raise Idle(f"a stream lasts {seconds:g} seconds at most; open another") from None

    async def _talk(self, socket: WebSocket, key: str) -> None:
        limits = self._limits
        arrived: Inbox[StreamRequest] = Inbox(self._sessions.in_flight, limits.socket_bytes, limits.room_seconds)
        # One task receives all the time, so that a client's disconnect cancels the judgement in progress.
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
            arrived.close()

    async def _listen(self, socket: WebSocket, arrived: Inbox[StreamRequest]) -> None:
        seconds = min(self._limits.message_seconds, self._limits.idle_seconds)
        while True:
            try:
                async with asyncio.timeout(seconds):
                    message = await socket.receive()
            except TimeoutError:
                raise Idle(f"no complete message came within {seconds:g} seconds; open another stream") from None
            seconds = self._limits.idle_seconds
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            text = message.get("text")
            if text is None:
                raise Invalid("send JSON as text messages, not binary ones")
            sent = text.encode("utf-8", "surrogatepass")
            if len(sent) > self._limits.message_bytes:
                raise self._too_large()
            piece = parsed(sent, StreamRequest)
            if piece.id is not None:
                raise Invalid("a WebSocket is one stream: it has no id", "id")
            await arrived.put(piece, max(len(sent), _bytes_of(piece)))

    async def _judge_along(self, socket: WebSocket, key: str, arrived: Inbox[StreamRequest]) -> None:
        stream: LiveStream | None = None
        final = False
        while not final:
            # All that came during the last judgement is judged together.
            pieces = await arrived.take()
            opening = stream is None
            if stream is None:
                stream = self._open(key, pieces[0])
            if any(piece.messages is not None for piece in pieces[opening:]):
                raise Invalid("this stream has its conversation: open another stream for another one", "messages")
            reply = await self._judge(stream, pieces, opening=opening)
            await self._send(socket, reply)
            final = reply.final

    async def _send(self, socket: WebSocket, reply: StreamReply) -> None:
        seconds = self._limits.reply_seconds
        try:
            async with asyncio.timeout(seconds):
                await socket.send_text(reply.model_dump_json(exclude_unset=True))
        except TimeoutError:
            raise Idle(f"no reply was read for {seconds:g} seconds") from None

    def _too_large(self) -> TooMuch:
        return TooMuch(f"a message may have {self._limits.message_bytes} bytes: send the text in smaller parts")

    def _open(self, key: str, piece: StreamRequest) -> LiveStream:
        if piece.messages is None:
            raise Invalid("a stream begins with the conversation: send messages", "messages")
        if piece.messages[-1].role != "user":
            raise Invalid("the last message must be the user's; send the beginning of an answer as `text`", "messages")
        if sum(len(message.content) for message in piece.messages) > self._limits.characters:
            raise TooMuch(f"a conversation may have {self._limits.characters} characters", "messages")
        return self._sessions.open(key, as_conversation(piece.messages), piece.allowed_categories)

    async def _judge(self, stream: LiveStream, pieces: list[StreamRequest], *, opening: bool = False) -> StreamReply:
        received = stream.received
        for piece in pieces:
            if piece.offset not in (None, received):
                raise Conflict(f"the text continues at character {received}, not {piece.offset}", "offset")
            received += len(piece.text)
        if received > self._limits.characters:
            raise TooMuch(f"an answer may have {self._limits.characters} characters", "text")
        if any(piece.end for piece in pieces[:-1]):
            raise Invalid("nothing may come after the end", "end")
        prompt = await stream.judge_prompt() if opening else None
        text = "".join(piece.text for piece in pieces)
        return _reply_of(await stream.feed(text, end=pieces[-1].end), prompt)


def _bytes_of(piece: StreamRequest) -> int:
    """Approximate memory of a piece: one emoji in a text makes each of its letters four bytes."""
    texts = [piece.text, *(message.content for message in piece.messages or ())]
    return sum(sys.getsizeof(text) + _OBJECT_BYTES for text in texts)


def _reply_of(progress: Progress, prompt: TokenVerdict | None) -> StreamReply:
    """The reply without `id`. `prompt` is None except in the first reply of a stream."""
    strict, loose = (_violation(progress.violations[strictness]) for strictness in ("strict", "loose"))
    reply = StreamReply(
        received=progress.received,
        tokens=progress.tokens,
        severity=progress.severity,
        cleared=StreamCleared(strict=progress.cleared["strict"], loose=progress.cleared["loose"]),
        violations=StreamViolations(strict=strict, loose=loose),
        final=progress.final,
    )
    return reply if prompt is None else reply.model_copy(update={"prompt": StreamReading(**_reading(prompt))})


def _violation(found: Violation | None) -> StreamViolation | None:
    if found is None:
        return None
    said = _reading(found.reading) | {"severity": found.severity}
    return StreamViolation(token=found.token, character=found.character, **said)


def _reading(reading: TokenVerdict) -> dict[str, Any]:
    flagged = reading.severity is not Severity.SAFE
    return {
        "severity": reading.severity,
        "category": reading.category if flagged else None,
        "probabilities": {severity: round(share, 6) for severity, share in reading.probabilities.items()},
    }
