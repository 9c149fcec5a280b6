"""A chat model that streams at a steady pace, for benchmarks."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from itertools import chain, cycle, islice
from typing import Any

from tests.stands.models.stub_model import StubModel
from tests.stands.models.upstream_dialects import DIALECTS

UNSAFE_AT = 100
DIALECTS_TRIED = ("plain", "azure", "openrouter", "vllm")
DIALECT_TOKENS, DIALECT_REASONING = 200, 150
HEAD = {"id": "chatcmpl-paced", "object": "chat.completion.chunk", "created": 1, "model": "paced"}


def token(number: int, *, unsafe: bool) -> str:
    return "bomb " if unsafe and number == UNSAFE_AT else f"word{number:03d} "


def _frame(text: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": None if text else "stop"}
    return f"data: {json.dumps({**HEAD, 'choices': [choice]})}\n\n".encode()


def _dialect_frames(dialect: str, *, unsafe: bool) -> list[bytes]:
    """An answer of 200 tokens, or one that continues after an unsafe token."""
    tokens = [token(number, unsafe=unsafe) for number in range(1000 if unsafe else DIALECT_TOKENS)]
    chunks = DIALECTS[dialect](tokens[:DIALECT_REASONING], tokens[DIALECT_REASONING:])
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]


class PacedModel(StubModel):
    """Answers with `max_tokens` tokens, `seed` milliseconds apart; the 100th is unsafe if the prompt asks for it.

    The frames are prepared and sent at fixed times, so that its own work does not affect the figures. The models
    `paced-azure` and so on stream like those servers, with their first 150 tokens as reasoning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models = ["paced", *(f"paced-{dialect}" for dialect in DIALECTS_TRIED)]
        self._end = _frame(None)
        self._frames = {
            unsafe: [_frame(token(number, unsafe=unsafe)) for number in range(1000)] for unsafe in (False, True)
        }
        self._dialect_frames = {
            (name, unsafe): _dialect_frames(name, unsafe=unsafe) for name in DIALECTS_TRIED for unsafe in (False, True)
        }

    async def events_to(self, body: dict[str, Any]) -> AsyncIterator[str | bytes]:
        # A benchmark's requests are long and many.
        self.requests.clear()
        started, pause = time.monotonic(), body["seed"] / 1000
        for number, frame in enumerate(self._frames_to(body)):
            yield frame
            await asyncio.sleep(max(0, started + (number + 1) * pause - time.monotonic()))
        yield b"data: [DONE]\n\n"

    def _frames_to(self, body: dict[str, Any]) -> Iterable[bytes]:
        unsafe = "unsafe" in body["messages"][-1]["content"]
        _, _, dialect = body["model"].partition("-")
        if dialect:
            return self._dialect_frames[dialect, unsafe]
        frames = self._frames[unsafe]
        return chain(islice(chain(frames, cycle(frames[UNSAFE_AT + 1 :])), body["max_tokens"]), [self._end])
