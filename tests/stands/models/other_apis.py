"""A model server of two other kinds that Open WebUI connects to: OpenAI's Responses API, and Ollama."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_RESPONDING, _OLLAMA = "responding", "ollama:1b"


class OtherApis:
    """Says `text`. `requests` holds what it was asked."""

    names = (_RESPONDING, _OLLAMA)

    def __init__(self) -> None:
        self.text = "Hello there."
        self.requests: list[dict[str, Any]] = []
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/responses", self._respond, methods=["POST"]),
            Route("/api/version", self._version),
            Route("/api/tags", self._tags),
            Route("/api/ps", self._running),
            Route("/api/chat", self._chat, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": _RESPONDING, "object": "model"}]})

    async def _respond(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        part = {"type": "output_text", "text": self.text, "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        whole = {"id": "resp_1", "object": "response", "model": _RESPONDING, "status": "completed"}
        if not body.get("stream"):
            return JSONResponse({**whole, "output": [item], "usage": usage})
        place = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
        begun = {**item, "status": "in_progress", "content": []}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": begun},
            {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
            *({"type": "response.output_text.delta", **place, "delta": word} for word in _pieces(self.text)),
            {"type": "response.output_text.done", **place, "text": self.text},
            {"type": "response.content_part.done", **place, "part": part},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**whole, "output": [item], "usage": usage}},
        ]
        lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return StreamingResponse(_each(lines), media_type="text/event-stream")

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": "0.12.0"})

    async def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": _OLLAMA, "model": _OLLAMA, "details": {}}]})

    async def _running(self, request: Request) -> Response:
        return JSONResponse({"models": []})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        said = {"model": _OLLAMA, "created_at": "2026-01-01T00:00:00Z", "done": False}
        done = {**said, "done": True, "done_reason": "stop", "eval_count": 1, "prompt_eval_count": 1}
        if not body.get("stream"):
            return JSONResponse({**done, "message": {"role": "assistant", "content": self.text}})
        words = ({**said, "message": {"role": "assistant", "content": word}} for word in _pieces(self.text))
        lines = (
            f"{json.dumps(line)}\n" for line in (*words, {**done, "message": {"role": "assistant", "content": ""}})
        )
        return StreamingResponse(_each(lines), media_type="application/x-ndjson")


def _pieces(text: str, size: int = 6) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


async def _each(lines: Iterator[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line
