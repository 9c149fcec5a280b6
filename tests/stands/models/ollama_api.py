"""Ollama, as Open WebUI and the guarded models ask it: its own API, and the one of OpenAI under /v1."""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.stands.models.stub_model import StubModel

_MADE = "2026-01-01T00:00:00Z"


class OllamaApi(StubModel):
    """A model without a template answers nothing, so an unknown one is refused, in Ollama's words."""

    def __init__(self, *models: str) -> None:
        super().__init__()
        self.models = list(models or ("llama:1b",))
        self.app.routes.extend(
            [
                Route("/api/version", self._version),
                Route("/api/tags", self._tags),
                Route("/api/ps", self._running),
                Route("/api/chat", self._chat, methods=["POST"]),
            ]
        )

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": "0.12.0"})

    async def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name, "details": {}} for name in self.models]})

    async def _running(self, request: Request) -> Response:
        return JSONResponse({"models": []})

    async def _complete(self, request: Request) -> Response:
        model = (await request.json()).get("model")
        if model not in self.models:
            message = f"model '{model}' not found"
            return JSONResponse({"error": {"message": message, "type": "not_found_error"}}, 404)
        return await super()._complete(request)

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if body.get("model") not in self.models:
            return JSONResponse({"error": f"model '{body.get('model')}' not found"}, 404)
        self.requests.append(body)
        # Ollama sends no line without words but the last one, and Open WebUI treats such a line as the last one.
        words = [str(delta["content"]) for delta in self.answer_to(body) if delta.get("content")]
        # Ollama streams unless it is asked not to.
        if body.get("stream", True):
            return StreamingResponse(_lines(body["model"], words), media_type="application/x-ndjson")
        return JSONResponse(_line(body["model"], "".join(words), done=True))


async def _lines(model: str, words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield f"{json.dumps(_line(model, word, done=False))}\n"
    yield f"{json.dumps(_line(model, '', done=True))}\n"


def _line(model: str, text: str, *, done: bool) -> dict[str, Any]:
    said = {"model": model, "created_at": _MADE, "message": {"role": "assistant", "content": text}, "done": done}
    return said | ({"done_reason": "stop", "eval_count": 1, "prompt_eval_count": 1} if done else {})
