"""A guard endpoint with scripted behaviour, for failures that must be provoked and for other servers' dialects.

It has the dialect of vLLM 0.32 (as seen on the real one, see tests/integration): the same fields, the same refusals.
"""

import asyncio
import re
import zlib
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

_WORD = re.compile(r" ?\w+|[^\w\s]|\s")
_REPLIES = {
    "bomb": ("Unsafe", "Violent"),
    "炸弹": ("Unsafe", "Violent"),
    "lock": ("Unsafe", "Non-violent Illegal Acts"),
    "pretend": ("Unsafe", "Jailbreak"),
    "politics": ("Controversial", "Politically Sensitive Topics"),
}


class StubGuard:
    """Flags a turn that contains one of a few words; everything else is safe.

    Attributes control its behaviour and may be changed while it runs; `requests` has the requests that it got.
    """

    def __init__(self) -> None:
        self.model = "Qwen/Qwen3Guard-Gen-0.6B"
        """Its only model: a request that names none or another is refused."""
        self.prefill = True
        """Supports `verdict_prefill`, like a server started by guard_server."""
        self.tokenize = True
        self.logprobs = True
        self.strict_fields = False
        """Rejects fields that OpenAI does not know, with 400."""
        self.delay = 0.0
        self.slow_about = ""
        """Only turns with this text take that long."""
        self.waits_for: str | None = None
        """Answers no request before it was asked about this turn."""
        self.silent_about: str | None = None
        """Answers no request about a turn with this text, until this changes."""
        self.status = 200
        self.status_after_first: int | None = None
        """The reply to all but the first request for a verdict."""
        self.status_about_answers: int | None = None
        """The reply to requests about an answer, if it is another one."""
        self.nonsense: str | None = None
        self.limit = 10240
        self.tells_limit = True
        self.key: str | None = None
        self.by_context = False
        """Flags a turn also for a word in its context, as real guards do."""
        self.together: tuple[str, ...] = ()
        """Words that are flagged only if one turn has all of them."""
        self.requests: list[dict[str, Any]] = []
        self.tokenized = 0
        """Requests to count the tokens of conversations."""
        self.at_once = 0
        self.most_at_once = 0
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/tokenize", self._tokenize, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    @property
    def judged(self) -> list[str]:
        """The last turn of each request for a verdict."""
        return [request["messages"][-1]["content"] for request in self.requests]

    def release(self) -> None:
        """Answer all requests that wait."""
        self.waits_for = self.silent_about = None

    async def _models(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        return JSONResponse({"object": "list", "data": [self._listed()]})

    def _listed(self) -> dict[str, Any]:
        model = {"id": self.model, "object": "model", "created": 0, "owned_by": "vllm"}
        return model | ({"max_model_len": self.limit} if self.tells_limit else {})

    async def _tokenize(self, request: Request) -> Response:
        if not self.tokenize:
            return PlainTextResponse("Not Found", 404)
        body = await request.json()
        self.tokenized += "messages" in body
        text = body.get("prompt") or "".join(message["content"] for message in body["messages"])
        tokens = [zlib.crc32(word.encode()) for word in _WORD.findall(text)]
        return JSONResponse({"count": len(tokens), "tokens": tokens, "max_model_len": self.limit})

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.delay if self.slow_about in body["messages"][-1]["content"] else 0)
            while self.waits_for and self.waits_for not in self.judged:
                await asyncio.sleep(0.01)
            while self.silent_about and self.silent_about in body["messages"][-1]["content"]:
                await asyncio.sleep(0.01)
        finally:
            self.at_once -= 1
        if self.status_about_answers and body["messages"][-1]["role"] == "assistant":
            return JSONResponse({"error": {"message": "provoked"}}, self.status_about_answers)
        return self._refusal(request) or self._wrong_model(body) or self._reply(body)

    def _refusal(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        status = self.status_after_first if self.status_after_first and len(self.requests) > 1 else self.status
        if status != 200:
            return JSONResponse({"error": {"message": "provoked"}}, status)
        return None

    def _wrong_model(self, body: dict[str, Any]) -> Response | None:
        if body.get("model") == self.model:
            return None
        message = f"The model `{body.get('model')}` does not exist."
        return JSONResponse({"error": {"message": message, "type": "NotFoundError", "code": 404}}, 404)

    def _too_long(self, count: int) -> Response | None:
        return _bad_request(
            f"This model's maximum context length is {self.limit} tokens. However, your prompt contains at least "
            f"{self.limit + 1} input tokens, which exceeds this limit even without any output tokens."
        )

    def _message(self, text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": text}

    def _reply(self, body: dict[str, Any]) -> Response:
        unknown = {"chat_template_kwargs", "logprob_token_ids"} & body.keys()
        if self.strict_fields and unknown:
            return _bad_request(f"Unrecognized request argument supplied: {min(unknown)}")
        count = len(_WORD.findall("".join(message["content"] for message in body["messages"])))
        if count > self.limit and (refusal := self._too_long(count)):
            return refusal
        turns = body["messages"] if self.by_context else body["messages"][-1:]
        said = " ".join(turn["content"] for turn in turns)
        severity, category = next((reply for word, reply in _REPLIES.items() if word in said), ("Safe", "None"))
        if self.together and all(word in said for word in self.together):
            severity, category = "Unsafe", "Violent"
        whole = f"Safety: {severity}\nCategories: {category}"
        if body["messages"][-1]["role"] == "assistant":
            whole += f"\nRefusal: {'Yes' if 'unable' in said else 'No'}"
        prefill = body.get("chat_template_kwargs", {}).get("verdict_prefill", "") if self.prefill else ""
        text = self.nonsense if self.nonsense is not None else whole.removeprefix(prefill)
        tokens = _WORD.findall(text)[: body["max_tokens"]]
        choice: dict[str, Any] = {
            "index": 0,
            "message": self._message("".join(tokens)),
            "finish_reason": "stop",
            "logprobs": None,
        }
        if self.logprobs and body.get("logprobs"):
            choice["logprobs"] = {"content": [self._logprobs(token) for token in tokens]}
        usage = {"prompt_tokens": count, "completion_tokens": len(tokens), "total_tokens": count + len(tokens)}
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return JSONResponse(reply | ({"usage": usage} if count else {}))

    def _logprobs(self, token: str) -> dict[str, Any]:
        labels = {" Safe": -3.0, " Unsafe": -3.0, " Controversial": -3.0} | {token: -0.1}
        top = [{"token": label, "logprob": logprob, "bytes": None} for label, logprob in labels.items()]
        return {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": top}


def _bad_request(message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "BadRequestError", "code": 400}}, 400)
