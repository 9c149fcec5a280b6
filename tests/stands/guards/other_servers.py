"""Servers of Qwen3Guard-Gen other than ours, each as strict as the real one: what it lists, refuses and leaves out.

Based on the replies of a real llama.cpp (build of October 2026, see tests/integration/test_llama_cpp.py), and on the
documentation and sources of the others (vLLM 0.32, SGLang 0.5, Ollama 0.13, LM Studio 0.3). Each refuses a model that
it does not have, even if the real one would use any model that it has.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from moderation.endpoint.server_facts import Style
from tests.stands.guards.stub_guard import StubGuard


class StandIn(StubGuard):
    """A stub guard in the dialect of one server; the class attributes describe what that server can do."""

    name = "vLLM, started by guard_server"
    server = "vLLM"
    """Its name in `doctor`."""
    style = Style.ONE_TOKEN
    """The best style that it supports."""
    probabilities = True
    tells_context = True
    refuses_too_long = True
    """Whether too long a prompt is refused. Ollama cuts off its beginning instead, without a message."""


class ReasoningParser(StandIn):
    """`vllm serve … --reasoning-parser qwen3`: a reply without a think block counts as thoughts."""

    name = "vLLM with a reasoning parser"
    style = Style.FULL_WITH_LOGPROBS

    def __init__(self) -> None:
        super().__init__()
        self.prefill = False

    def _message(self, text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "reasoning": text, "reasoning_content": text}


class OlderVllm(StandIn):
    """Started by hand with our template: it does not know `logprob_token_ids`, and reports nothing for them."""

    name = "vLLM before 0.32, with the template of guard_server"

    def _reply(self, body: dict[str, Any]) -> Response:
        if body.get("top_logprobs") is None and self.logprobs:
            body = {**body, "logprobs": False}
        return super()._reply(body)


class SGLang(StandIn):
    name = server = "SGLang"
    style = Style.FULL_WITH_LOGPROBS

    def __init__(self) -> None:
        super().__init__()
        self.prefill = False

    def _listed(self) -> dict[str, Any]:
        return super()._listed() | {"owned_by": "sglang", "root": self.model}

    async def _tokenize(self, request: Request) -> Response:
        if "prompt" not in await request.json():
            return JSONResponse({"object": "error", "message": "prompt: Field required", "code": 422}, 422)
        return await super()._tokenize(request)

    def _too_long(self, count: int) -> Response | None:
        message = f"The input ({count} tokens) is longer than the model's context length ({self.limit} tokens)."
        return JSONResponse({"object": "error", "message": message, "type": "BadRequestError", "code": 400}, 400)


class LlamaCpp(StandIn):
    name = server = "llama.cpp"
    style = Style.FULL_WITH_LOGPROBS

    def __init__(self) -> None:
        super().__init__()
        self.prefill = False
        self.model = "Qwen3Guard-Gen-0.6B-Q8_0.gguf"

    async def _models(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        models = [{"name": self.model, "model": self.model, "type": "model", "capabilities": ["completion"]}]
        return JSONResponse({"models": models, "object": "list", "data": [self._listed()]})

    def _listed(self) -> dict[str, Any]:
        meta = {"vocab_type": 2, "n_vocab": 151936, "n_ctx_train": 32768, "n_embd": 1024}
        meta |= {"n_ctx": self.limit} if self.tells_limit else {}
        return {"id": self.model, "object": "model", "created": 0, "owned_by": "llamacpp", "meta": meta}

    async def _tokenize(self, request: Request) -> Response:
        text = (await request.json()).get("content", "")
        return JSONResponse({"tokens": list(range(len(text.split())))})

    def _message(self, text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": "", "reasoning_content": text}

    def _logprobs(self, token: str) -> dict[str, Any]:
        found = super()._logprobs(token)
        for each in (found, *found["top_logprobs"]):
            each |= {"id": 7, "bytes": list(each["token"].encode())}
        return found

    def _too_long(self, count: int) -> Response | None:
        limit = f"the available context size ({self.limit} tokens)"
        message = f"request ({count} tokens) exceeds {limit}, try increasing it"
        error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
        return JSONResponse({"error": {**error, "n_prompt_tokens": count, "n_ctx": self.limit}}, 400)


class Ollama(StandIn):
    name = server = "Ollama"
    style = Style.FULL_WITH_LOGPROBS
    probabilities = tells_context = refuses_too_long = False

    def __init__(self) -> None:
        super().__init__()
        self.prefill = self.tokenize = self.logprobs = False
        self.model = "qwen3guard:0.6b"

    def _listed(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": 0, "owned_by": "library"}

    async def _tokenize(self, request: Request) -> Response:
        return PlainTextResponse("404 page not found", 404)

    def _wrong_model(self, body: dict[str, Any]) -> Response | None:
        if not body.get("model"):
            error = {"message": "model is required", "type": "invalid_request_error", "param": None, "code": None}
            return JSONResponse({"error": error}, 400)
        if body["model"] != self.model:
            error = {"message": f"model '{body['model']}' not found", "type": "api_error", "param": None, "code": None}
            return JSONResponse({"error": error}, 404)
        return None

    def _too_long(self, count: int) -> Response | None:
        return None


class LmStudio(StandIn):
    name = server = "LM Studio"
    style = Style.FULL_WITH_LOGPROBS
    probabilities = tells_context = False

    def __init__(self) -> None:
        super().__init__()
        self.prefill = self.logprobs = False
        self.model = "qwen3guard-gen-0.6b"

    def _listed(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "owned_by": "organization_owner"}

    async def _tokenize(self, request: Request) -> Response:
        # With status 200. The real one writes "Returning 200 anyway" to its log.
        return JSONResponse({"error": "Unexpected endpoint or method. (POST /tokenize)"})

    def _message(self, text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": f"<think>\n\n</think>\n\n{text}<|im_end|>", "tool_calls": []}

    def _too_long(self, count: int) -> Response | None:
        message = (
            f"Trying to keep the first {count} tokens when context the overflows. However, the model is loaded with "
            f"context length of only {self.limit} tokens, which is not enough. Try to load the model with a larger "
            "context length, or provide a shorter input"
        )
        return JSONResponse({"error": message}, 400)


class Proxy(StandIn):
    """Forwards only `/v1`, under its own name for the model, and refuses fields that OpenAI's API does not have."""

    name = "a proxy that forwards /v1 only"
    server = "unknown kind"
    style = Style.FULL_WITH_LOGPROBS
    tells_context = False

    def __init__(self) -> None:
        super().__init__()
        self.prefill, self.tokenize, self.strict_fields = False, False, True
        self.model = "guard"

    def _listed(self) -> dict[str, Any]:
        return {"id": self.model}

    async def _tokenize(self, request: Request) -> Response:
        return JSONResponse({"detail": "Not Found"}, 404)

    def _wrong_model(self, body: dict[str, Any]) -> Response | None:
        return None if body.get("model") == self.model else JSONResponse({"error": {"message": "no such model"}}, 404)


STAND_INS: tuple[type[StandIn], ...] = (
    StandIn,
    ReasoningParser,
    OlderVllm,
    SGLang,
    LlamaCpp,
    Ollama,
    LmStudio,
    Proxy,
)
