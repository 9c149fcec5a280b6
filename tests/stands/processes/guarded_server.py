"""The real Pipelines server with the guarded models, between a guard and a chat model that do as they are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.processes.pipelines_server import PipelinesServer, pipelines_server
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

MODEL = "qwen3guard_models.qwen~2Fqwen3"
UPSTREAM_SECONDS = 4
"""The admin's own limit for an upstream that says nothing."""


class GuardedServer:
    """The server, and what a test turns at those around it."""

    def __init__(self, pipelines: PipelinesServer, guard: StubGuard, upstream: StubModel, audit: Path) -> None:
        self.pipelines = pipelines
        self.guard = guard
        self.upstream = upstream
        self._audit = audit

    def as_new(self) -> None:
        """Guard and upstream behave as at the start again, and the audit is empty."""
        # Their apps go on being served, by methods of the same objects.
        vars(self.guard).update(vars(StubGuard()))
        vars(self.upstream).update(vars(StubModel()))
        for file in self._audit.glob("*"):
            file.unlink()

    def audit(self) -> list[dict[str, Any]]:
        """The records, oldest first."""
        files = sorted(self._audit.glob("*"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    async def ask(self, text: str = "hi", *, stream: bool = True, **more: Any) -> Received:
        """All that a client receives."""
        async with self.asking(text, stream=stream, **more) as received:
            await received.ended()
        return received

    @asynccontextmanager
    async def asking(self, text: str = "hi", *, stream: bool = True, **more: Any) -> AsyncIterator[Received]:
        """What a client receives meanwhile; it leaves with the context."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": stream, **more}
        received = Received()
        reading = asyncio.create_task(received.read(f"{self.pipelines.url}/chat/completions", body))
        try:
            yield received
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class Received:
    """The bytes of one answer, and when they came."""

    def __init__(self) -> None:
        self.raw = ""
        self.times: list[float] = []
        """Of the request and of every part of the answer, by `time.monotonic()`."""
        self.broken: str | None = None
        """How the connection ended, where it was cut."""
        self._ended = asyncio.Event()

    async def read(self, url: str, body: dict[str, Any]) -> None:
        self.times.append(time.monotonic())
        try:
            async with (
                httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
                client.stream("POST", url, json=body) as reply,
            ):
                async for part in reply.aiter_text():
                    self.raw += part
                    self.times.append(time.monotonic())
        except httpx.TransportError as error:
            self.broken = repr(error)
        finally:
            self._ended.set()

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._ended.wait()

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """What a streamed answer consists of; of a cut one, what came whole."""
        whole = self.raw.rpartition("\n\n")[0] if self.broken else self.raw
        lines = [line.removeprefix("data: ") for line in whole.split("\n\n") if line]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def said(self) -> str:
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content", "") for choice in choices)

    @property
    def finish(self) -> str | None:
        """The one finish reason; None where there is none."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        reasons: list[str] = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        assert len(reasons) <= 1, reasons
        return reasons[0] if reasons else None

    @property
    def longest_silence(self) -> float:
        """Seconds."""
        return max(later - sooner for sooner, later in zip(self.times, self.times[1:], strict=False))


@contextmanager
def guarded_server(
    folder: Path, *, guard_url: str | None = None, environment: str = "pipelines", **valves: str
) -> Iterator[GuardedServer]:
    """With these defaults for its valves; `guard_url` names another guard than the stub, `environment` the server's."""
    guard, upstream = StubGuard(), StubModel()
    with serve(guard.app) as stub_url, serve(upstream.app) as upstream_url:
        wiring = {
            "guard_base_url": guard_url or f"{stub_url}/v1",
            "upstream_base_urls": f"{upstream_url}/v1",
            "upstream_api_keys": "sk-secret",
            # Two checks in a row by a guard that is slow on purpose, and a busy machine.
            "timeout_seconds": "30",
            "upstream_timeout_seconds": str(UPSTREAM_SECONDS),
            "audit_path": str(folder / "audit/audit.jsonl"),
            **valves,
        }
        variables = {f"QWEN3GUARD_{name.upper()}": value for name, value in wiring.items()}
        with pipelines_server(environment, folder, ["qwen3guard_models"], variables) as pipelines:
            yield GuardedServer(pipelines, guard, upstream, folder / "audit")
