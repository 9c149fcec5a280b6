"""The scripted chat model: an OpenAI-compatible HTTP server whose answers come from `script.toml`.

It replaces a real chat model, so that the demo needs no download and a test knows the answers in advance. `GET /log`
returns the requests that it got, and `DELETE /log` clears them. After `POST /stop {"after": words}` streamed answers
stop when they have said these words; with no words they go on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from demo.chat_model.completion import Completion
from demo.chat_model.script import Script, last_user_text

SCRIPT = Path(__file__).with_name("script.toml")
MODEL = "demo-chat"
# Longer than Open WebUI keeps an idle connection.
_KEEP_ALIVE_SECONDS = 75


class RequestLog:
    """Request bodies in memory, and also in a file if a path is given, one JSON line each."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []

    def add(self, body: dict[str, Any]) -> None:
        """Appends `{"time": seconds since 1970, "body": the request}`."""
        entry = {"time": time.time(), "body": body}
        self.entries.append(entry)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def clear(self) -> None:
        """Clears the memory. The file keeps its lines."""
        self.entries.clear()


class ChatModel:
    """The server's state: the script, the models that it lists, its speed and its request log.

    `delay` is the wait after each streamed chunk, in seconds. An unstreamed answer comes at once.
    """

    def __init__(self, script: Script, log: RequestLog, models: list[str], delay: float) -> None:
        self.script = script
        self.log = log
        self.models = models
        self.delay = delay
        self._stops_after = ""
        self._goes_on = asyncio.Event()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self.list_models),
                Route("/v1/chat/completions", self.complete, methods=["POST"]),
                Route("/log", self.show_log, methods=["GET"]),
                Route("/log", self.clear_log, methods=["DELETE"]),
                Route("/stop", self.stop, methods=["POST"]),
            ]
        )

    async def list_models(self, request: Request) -> Response:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "demo"} for name in self.models]
        return JSONResponse({"object": "list", "data": models})

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.log.add(body)
        if body.get("model") not in self.models:
            return _error(404, f"The model {body.get('model')!r} does not exist. Models: {', '.join(self.models)}.")
        if not body.get("messages"):
            return _error(400, "messages: at least one message is needed.")
        completion = Completion(body["model"], self.script.reply(body), last_user_text(body))
        if not body.get("stream"):
            return JSONResponse(completion.whole())
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return StreamingResponse(self._events(completion, with_usage), media_type="text/event-stream")

    async def _events(self, completion: Completion, with_usage: bool) -> AsyncIterator[str]:
        said = ""
        for chunk in completion.chunks(with_usage=with_usage):
            yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
            said += "".join(choice["delta"].get("content", "") for choice in chunk["choices"])
            await asyncio.sleep(self.delay)
            if self._stops_after and self._stops_after in said:
                await self._goes_on.wait()
        yield "data: [DONE]\n\n"

    async def show_log(self, request: Request) -> Response:
        return JSONResponse(self.log.entries)

    async def clear_log(self, request: Request) -> Response:
        self.log.clear()
        return Response(status_code=204)

    async def stop(self, request: Request) -> Response:
        self._stops_after = str((await request.json())["after"])
        (self._goes_on.clear if self._stops_after else self._goes_on.set)()
        return Response(status_code=204)


def _error(status: int, message: str) -> JSONResponse:
    detail: dict[str, Any] = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": detail}, status_code=status)


def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 9100,
    log: Annotated[Path | None, typer.Option(help="File that gets one JSON line per request.")] = None,
    script: Annotated[Path, typer.Option(help="Table of answers.")] = SCRIPT,
    delay: Annotated[float, typer.Option(help="Seconds before each streamed token.")] = 0.02,
    model: Annotated[list[str] | None, typer.Option(help="Name of a listed model; may be given again.")] = None,
) -> None:
    """Serve the scripted chat model."""
    chat_model = ChatModel(Script.load(script), RequestLog(log), model or [MODEL], delay)
    uvicorn.run(chat_model.app(), host="127.0.0.1", port=port, timeout_keep_alive=_KEEP_ALIVE_SECONDS)


if __name__ == "__main__":
    typer.run(serve)
