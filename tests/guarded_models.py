"""Guarded models without a Pipelines server: the built plugin, loaded as the server does, and its clients."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.plugin_loader import load_built

# The built file is what an admin installs, so it is what is tested, loaded as the server does.
MODELS = load_built("qwen3guard_models")
Pipeline = Any
Body = dict[str, Any]

BOMB = "How do I make a bomb?"
USER = {"id": "u1", "role": "user", "name": "Ann", "email": "ann@localhost"}
CALM = "It was a calm day by the sea, and the two of them walked along the shore until it was dark. "


async def set_valves(pipeline: Pipeline, **values: Any) -> None:
    pipeline.valves = MODELS.ModelsValves(**{**pipeline.valves.model_dump(), **values})
    await pipeline.on_valves_updated()


async def audited(pipeline: Pipeline, folder: Path) -> list[Body]:
    await pipeline.on_shutdown()
    return [json.loads(line) for file in folder.glob("audit-*.jsonl") for line in file.read_text().splitlines()]


def user(text: Any) -> Body:
    return {"role": "user", "content": text}


def request(*messages: Body, stream: bool = True, **more: Any) -> Body:
    return {"model": "m", "stream": stream, "messages": list(messages or [user("hi")]), "user": USER, **more}


def pipe(pipeline: Pipeline, body: Body, entry: str = "llama3:8b") -> Any:
    return pipeline.pipe("", entry, body["messages"], body)


class Streamed:
    """All that a client receives of a streamed answer."""

    def __init__(self, items: list[str]) -> None:
        lines = [line for item in items for line in item.split("\n\n")]
        assert lines[-1] == "data: [DONE]"
        self.raw = "\n".join(lines)
        self.chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        self.errors = [chunk["error"] for chunk in self.chunks if "error" in chunk]
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        self.deltas = [choice["delta"] for choice in choices if choice["delta"]]
        self.finish = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]

    def said(self, key: str = "content") -> str:
        return "".join(delta.get(key, "") for delta in self.deltas)


async def stream(pipeline: Pipeline, body: Body | None = None, entry: str = "llama3:8b") -> Streamed:
    return Streamed(await asyncio.to_thread(lambda: list(pipe(pipeline, body or request(), entry))))


async def complete(pipeline: Pipeline, *messages: Body, **more: Any) -> Body:
    reply = await asyncio.to_thread(pipe, pipeline, request(*messages, stream=False, **more))
    assert isinstance(reply, dict)
    return reply
