"""Reads one streamed answer as a client, and measures it."""

import json
import time
from typing import Any, NamedTuple

import httpx

from tests.stands.clients import NO_IDLE


class Run(NamedTuple):
    """One streamed answer. Times are seconds."""

    first: float
    """From the request to the first text."""
    total: float
    """From the request to the end."""
    text: str
    ended: float
    """The time of its end, by the system's monotonic clock."""


def new_http() -> httpx.AsyncClient:
    """A client without limits, with a connection for each request: servers close idle ones after five seconds."""
    return httpx.AsyncClient(timeout=600, trust_env=False, limits=NO_IDLE)


async def streamed_run(http: httpx.AsyncClient, url: str, body: dict[str, Any]) -> Run:
    """Request an answer and read all of it.

    Raises:
        RuntimeError: the answer is an error, or has one in it.
    """
    started, first, text = time.monotonic(), 0.0, ""
    async with http.stream("POST", url, json={**body, "stream": True}) as reply:
        if reply.is_error:
            raise RuntimeError(f"status {reply.status_code}: {(await reply.aread()).decode(errors='replace')[:500]}")
        async for line in reply.aiter_lines():
            if line.startswith("data: {") and (said := _content(line)):
                first = first or time.monotonic() - started
                text += said
    ended = time.monotonic()
    return Run(first, ended - started, text, ended)


def _content(line: str) -> str:
    chunk = json.loads(line.removeprefix("data: "))
    if "error" in chunk:
        raise RuntimeError(f"the answer has an error: {chunk['error']}")
    return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
