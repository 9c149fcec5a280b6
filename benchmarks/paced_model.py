"""A chat model that streams at a steady pace, for benchmarks: `python -m benchmarks.paced_model PORT`.

`max_tokens` tokens, `seed` milliseconds apart; the 100th says something unsafe if the prompt asks for it. The frames
are made beforehand and sent by the clock, so that its own work does not show. The models `paced-azure` and so on stream
as those servers do, their first 150 tokens as reasoning.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.upstream_dialects import DIALECTS

UNSAFE_AT = 100
DIALECTS_TRIED = ("plain", "azure", "openrouter", "vllm")
DIALECT_TOKENS, DIALECT_REASONING = 200, 150
HEAD = {"id": "chatcmpl-paced", "object": "chat.completion.chunk", "created": 1, "model": "paced"}
# When each stream ended, by the system's monotonic clock, and whether it came to its end.
ended: list[tuple[float, bool]] = []


def token(number: int, *, unsafe: bool) -> str:
    return "bomb " if unsafe and number == UNSAFE_AT else f"word{number:03d} "


def frame(text: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": None if text else "stop"}
    return f"data: {json.dumps({**HEAD, 'choices': [choice]})}\n\n".encode()


FRAMES = {unsafe: [frame(token(number, unsafe=unsafe)) for number in range(1000)] for unsafe in (False, True)}
END = frame(None)


def dialect_frames(dialect: str, *, unsafe: bool) -> list[bytes]:
    """An answer of 200 tokens, or one that goes on after the unsafe one."""
    tokens = [token(number, unsafe=unsafe) for number in range(1000 if unsafe else DIALECT_TOKENS)]
    chunks = DIALECTS[dialect](tokens[:DIALECT_REASONING], tokens[DIALECT_REASONING:])
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]


DIALECT_FRAMES = {
    (name, unsafe): dialect_frames(name, unsafe=unsafe) for name in DIALECTS_TRIED for unsafe in (False, True)
}


async def stream(frames: list[bytes], pause: float) -> AsyncIterator[bytes]:
    started, whole = time.monotonic(), False
    try:
        for number, sent in enumerate(frames):
            yield sent
            await asyncio.sleep(max(0, started + (number + 1) * pause - time.monotonic()))
        yield b"data: [DONE]\n\n"
        whole = True
    finally:
        ended.append((time.monotonic(), whole))


async def complete(request: Request) -> Response:
    body = await request.json()
    unsafe = "unsafe" in body["messages"][-1]["content"]
    _, _, dialect = body["model"].partition("-")
    frames = DIALECT_FRAMES[dialect, unsafe] if dialect else [*FRAMES[unsafe][: body["max_tokens"]], END]
    return StreamingResponse(stream(frames, body["seed"] / 1000), media_type="text/event-stream")


async def models(request: Request) -> Response:
    names = ["paced", *(f"paced-{dialect}" for dialect in DIALECTS_TRIED)]
    return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


async def endings(request: Request) -> Response:
    found, ended[:] = list(ended), []
    return JSONResponse(found)


app = Starlette(
    routes=[
        Route("/v1/models", models),
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/endings", endings),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
