"""A chat model that streams at a steady pace, for benchmarks: `python -m benchmarks.paced_model PORT`.

`max_tokens` tokens, `seed` milliseconds apart; the 100th says something unsafe where the prompt asks for it. The frames
are made beforehand and sent by the clock, so that its own work does not show.
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

UNSAFE_AT = 100
HEAD = {"id": "chatcmpl-paced", "object": "chat.completion.chunk", "created": 1, "model": "paced"}
# When each stream ended, by the system's monotonic clock, and whether it came to its end.
ended: list[tuple[float, bool]] = []


def token(number: int, *, unsafe: bool) -> str:
    return "bomb " if unsafe and number == UNSAFE_AT else f"word{number:03d} "


def frame(text: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": None if text else "stop"}
    return f"data: {json.dumps({**HEAD, 'choices': [choice]})}\n\n".encode()


FRAMES = {unsafe: [frame(token(number, unsafe=unsafe)) for number in range(1000)] for unsafe in (False, True)}
END = frame(None) + b"data: [DONE]\n\n"


async def stream(count: int, pause: float, unsafe: bool) -> AsyncIterator[bytes]:
    started, whole = time.monotonic(), False
    try:
        for number in range(count):
            yield FRAMES[unsafe][number]
            await asyncio.sleep(max(0, started + (number + 1) * pause - time.monotonic()))
        yield END
        whole = True
    finally:
        ended.append((time.monotonic(), whole))


async def complete(request: Request) -> Response:
    body = await request.json()
    unsafe = "unsafe" in body["messages"][-1]["content"]
    return StreamingResponse(stream(body["max_tokens"], body["seed"] / 1000, unsafe), media_type="text/event-stream")


async def models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "paced", "object": "model"}]})


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
