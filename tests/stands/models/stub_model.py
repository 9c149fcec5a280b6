"""A chat model with scripted behaviour: a real HTTP server for guarded models, for failures that must be provoked."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "stub"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class StubModel:
    """Sends `deltas`, one chunk each. Attributes may be changed while it runs; `requests` has all requests."""

    def __init__(self) -> None:
        self.models = ["llama3:8b", "qwen/qwen3"]
        self.deltas: list[dict[str, Any]] = []
        self.says("Hello there, my friend.")
        self.finish: str | None = "stop"
        """None ends the stream without a finish reason."""
        self.done = True
        """Whether a stream ends with [DONE]."""
        self.chunks: list[Any] | None = None
        """Sent in reply to a streamed request instead of `deltas`, one event each; a text is sent unchanged."""
        self.reply: Any = None
        """Sent as JSON in reply to any request, instead of `deltas`."""
        self.listing: Any = None
        """Sent as the list of models instead of `models`."""
        self.delay = 0.0
        """Seconds before each chunk."""
        self.wait = 0.0
        """Seconds before the first chunk."""
        self.holds = False
        """Nothing is sent while this is set."""
        self.stops_after: int | None = None
        """A streamed answer stops after this number of chunks, and goes on when this is None."""
        self.beats = False
        """A stopped answer sends empty chunks, as some servers do while they have nothing to say."""
        self.abort_after: int | None = None
        """Breaks the connection after this number of chunks."""
        self.answers_for_any_model = False
        """The Responses API looks at no model's name, as in llama.cpp. vLLM, Ollama and OpenAI do."""
        self.status = 200
        self.error = "provoked"
        self.requests: list[dict[str, Any]] = []
        self.counted: list[dict[str, Any]] = []
        """The requests of Anthropic's API whose tokens it was to count."""
        self.keys: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.streaming = 0
        """Number of open streams."""
        self.closed: list[float] = []
        """When each stream ended, by `time.monotonic()`."""
        self.whole: list[bool] = []
        """Whether each of those streams was sent completely."""
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/v1/responses", self._respond, methods=["POST"]),
            Route("/v1/messages", self._message, methods=["POST"]),
            Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def says(self, text: str, *, size: int = 4, reasoning: str = "") -> None:
        """Answer `text` in chunks of `size` characters."""
        self.deltas = [{"role": "assistant", "content": ""}]
        self.deltas += [{"reasoning_content": reasoning[at : at + size]} for at in range(0, len(reasoning), size)]
        self.deltas += [{"content": text[at : at + size]} for at in range(0, len(text), size)]

    def release(self) -> None:
        """Go on with all answers that wait."""
        self.holds, self.stops_after = False, None

    def answer_to(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The deltas of the answer to a request."""
        return self.deltas

    def chunks_to(self, body: dict[str, Any]) -> list[Any] | None:
        """The raw reply to a streamed request; None if deltas are sent."""
        return self.chunks

    async def _models(self, request: Request) -> Response:
        if self.status != 200:
            return self._error()
        if self.listing is not None:
            return JSONResponse(self.listing)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.queries.append(dict(request.query_params))
        self.keys.append(request.headers.get("authorization"))
        if self.status != 200:
            return self._error()
        if self.reply is not None:
            return JSONResponse(self.reply)
        if body.get("stream"):
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        await self._waited()
        message: dict[str, Any] = {"role": "assistant"}
        for delta in self.answer_to(body):
            for key, value in delta.items():
                message[key] = message.get(key, "") + value if key in ("content", "reasoning_content") else value
        for call in message.get("tool_calls", []):
            call.pop("index")
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return JSONResponse({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})

    async def _respond(self, request: Request) -> Response:
        """OpenAI's Responses API."""
        body = await request.json()
        if body["model"] not in self.models and not self.answers_for_any_model:
            return JSONResponse({"error": {"message": f"The model `{body['model']}` does not exist."}}, 404)
        self.requests.append(body)
        text = "".join(delta.get("content") or "" for delta in self.deltas)
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        return JSONResponse({"id": "resp_1", "object": "response", "status": "completed", "output": [item]})

    async def _message(self, request: Request) -> Response:
        """Anthropic's API, as LiteLLM has it too."""
        self.requests.append(await request.json())
        text = "".join(delta.get("content") or "" for delta in self.deltas)
        said = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
        usage = {"input_tokens": 1, "output_tokens": 2}
        return JSONResponse({"id": "msg_1", "model": "stub", **said, "stop_reason": "end_turn", "usage": usage})

    async def _count(self, request: Request) -> Response:
        self.counted.append(await request.json())
        return JSONResponse({"input_tokens": 1})

    async def events_to(self, body: dict[str, Any]) -> AsyncIterator[str | bytes]:
        """The events of a streamed answer, at its pace."""
        chunks = self.chunks_to(body)
        for number, chunk in enumerate(chunks or ()):
            async for beat in self._stopped(number):
                yield beat
            yield chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}\n\n"
            await asyncio.sleep(self.delay)
        if chunks is not None:
            yield "data: [DONE]\n\n" if self.done else ""
            return
        for number, delta in enumerate(self.answer_to(body)):
            if number == self.abort_after:
                raise ConnectionError("provoked")
            async for beat in self._stopped(number):
                yield beat
            yield self._event([{"index": 0, "delta": delta, "finish_reason": None}])
            await asyncio.sleep(self.delay)
        if self.finish:
            yield self._event([{"index": 0, "delta": {}, "finish_reason": self.finish}])
        if (body.get("stream_options") or {}).get("include_usage"):
            yield self._event([], usage=USAGE)
        if self.done:
            yield "data: [DONE]\n\n"

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str | bytes]:
        self.streaming += 1
        whole = False
        try:
            await self._waited()
            async for event in self.events_to(body):
                yield event
            whole = True
        finally:
            self.closed.append(time.monotonic())
            self.whole.append(whole)
            # Last: a test that waits for this reads the rest.
            self.streaming -= 1

    async def _waited(self) -> None:
        await asyncio.sleep(self.wait)
        while self.holds:
            await asyncio.sleep(0.05)

    async def _stopped(self, number: int) -> AsyncIterator[str]:
        """What is sent before the chunk of this number, while the answer has stopped."""
        while self.stops_after is not None and number >= self.stops_after:
            await asyncio.sleep(0.05 if self.beats else 0.01)
            if self.beats:
                yield self._event([{"index": 0, "delta": {"content": ""}, "finish_reason": None}])

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> str:
        chunk = {**HEAD, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(chunk)}\n\n"

    def _error(self) -> Response:
        return JSONResponse({"error": {"message": self.error, "type": "provoked"}}, self.status)
