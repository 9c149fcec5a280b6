"""A faulty guard: random verdicts, unreadable replies, and silence; a real HTTP server.

The text of a turn determines its reply, so that a test can compute the result that an evaluation must report.
"""

import asyncio
import hashlib
from collections import Counter
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SEVERITIES = ("Safe", "Controversial", "Unsafe")
PROMPT_TOKENS = 7
Fate = Literal["verdict", "unreadable", "time-out"]


def _draw(text: str, what: str) -> float:
    """Between 0 and 1, the same for the same text."""
    return int.from_bytes(hashlib.sha256(f"{what}:{text}".encode()).digest()[:6]) / 256**6


class BrokenGuard:
    """Attributes may be changed while it runs."""

    def __init__(self) -> None:
        self.unreadable = 0.1
        """The share of turns to which the reply is no verdict."""
        self.silent = 0.0
        """The share to which there is none."""
        self.status = 200
        """Number of replies to chat completions."""
        self.stops_after: int | None = None
        """It answers no more after this number of requests, and goes on when this is None."""
        self.asked: Counter[str] = Counter()
        """Number of requests, by the judged turn."""
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def fate(self, text: str) -> Fate:
        drawn = _draw(text, "fate")
        if drawn < self.unreadable:
            return "unreadable"
        return "time-out" if drawn < self.unreadable + self.silent else "verdict"

    def severity(self, text: str) -> str:
        return SEVERITIES[int(3 * _draw(text, "severity"))]

    async def _models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": "broken-guard", "object": "model", "max_model_len": 4096}]}
        )

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        text = body["messages"][-1]["content"]
        self.asked[text] += 1
        if self.status != 200:
            return JSONResponse({"error": {"message": "provoked"}}, self.status)
        number = self.asked.total()
        while self.fate(text) == "time-out" or (self.stops_after is not None and number > self.stops_after):
            await asyncio.sleep(0.01)
        severity = self.severity(text)
        reply = f"Safety: {severity}\nCategories: {'None' if severity == 'Safe' else 'Violent'}"
        if self.fate(text) == "unreadable":
            reply = "I would rather talk about the weather."
        message = {"role": "assistant", "content": reply}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        if body.get("logprobs"):
            # What OpenAI's API returns for the tokens "Safety", ":", " Safe"; the rest of a reply is not needed.
            choice["logprobs"] = {"content": [_token("Safety"), _token(":"), _token(f" {severity}")]}
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 2, "total_tokens": PROMPT_TOKENS + 2}
        return JSONResponse({"object": "chat.completion", "model": "broken-guard", "choices": [choice], "usage": usage})


def _token(text: str) -> dict[str, Any]:
    labels = {f" {severity}": -4.0 for severity in SEVERITIES} | {text: -0.1}
    top = [{"token": label, "logprob": logprob, "bytes": None} for label, logprob in labels.items()]
    return {"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": top}
