"""Clients of guarded models without a Pipelines server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.stands.chats import USER, request
from tests.stands.plugins import Pipeline
from webui.bodies import Body


def pipe(pipeline: Pipeline, body: Body, entry: str = "llama3:8b") -> Any:
    return pipeline.pipe("", entry, body["messages"], {"user": USER, **body})


class Streamed:
    """Everything that a client receives of a streamed answer."""

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


async def stream(
    pipeline: Pipeline,
    body: Body | None = None,
    entry: str = "llama3:8b",
    read: Callable[[str], object] = lambda item: None,
) -> Streamed:
    """The answer to a request. `read` is called with each item, before the next one is asked for."""

    def items() -> Iterator[str]:
        for item in pipe(pipeline, body or request(), entry):
            read(item)
            yield item

    return Streamed(await asyncio.to_thread(lambda: list(items())))


async def complete(pipeline: Pipeline, *messages: Body, **more: Any) -> Body:
    reply = await asyncio.to_thread(pipe, pipeline, request(*messages, stream=False, **more))
    assert isinstance(reply, dict)
    return reply
