"""The real Pipelines server with the guarded models, between a stub guard and a stub chat model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.processes.pipelines_server import PipelinesServer, pipelines_server
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE, wait_until

MODELS = "qwen3guard_models"
MODEL = f"{MODELS}.qwen~2Fqwen3"


class GuardedServer:
    """The server, and the controls of the stubs around it."""

    def __init__(self, pipelines: PipelinesServer, guard: StubGuard, upstream: StubModel, audit: Path) -> None:
        self.pipelines = pipelines
        self.guard = guard
        self.upstream = upstream
        self._audit = audit

    def as_new(self) -> None:
        """Reset guard and upstream once they are idle, and clear the audit."""
        self.guard.release()
        self.upstream.release()
        wait_until(lambda: not (self.upstream.streaming or self.guard.at_once))
        # Their apps are still served, by methods of the same objects.
        vars(self.guard).update(vars(StubGuard()))
        vars(self.upstream).update(vars(StubModel()))
        for file in self._audit.glob("*"):
            file.unlink()

    def audit(self) -> list[dict[str, Any]]:
        """The records, oldest first."""
        files = sorted(self._audit.glob("*"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    @contextmanager
    def valves(self, **valves: Any) -> Iterator[None]:
        """Sets valves for a while."""
        path = f"/{MODELS}/valves"
        before = self.pipelines.get(path)
        self.pipelines.post(f"{path}/update", before | valves)
        try:
            yield
        finally:
            self.pipelines.post(f"{path}/update", before)

    async def ask(self, text: str = "hi", *, stream: bool = True, **more: Any) -> Received:
        """Everything that a client receives."""
        async with self.asking(text, stream=stream, **more) as received:
            await received.ended()
        return received

    @asynccontextmanager
    async def asking(self, text: str = "hi", *, stream: bool = True, **more: Any) -> AsyncIterator[Received]:
        """What a client receives inside the context; at its end the client leaves."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": stream, **more}
        received = Received()
        reading = asyncio.create_task(received.read(f"{self.pipelines.url}/chat/completions", body))
        try:
            yield received
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class Received:
    """The bytes of one answer."""

    def __init__(self) -> None:
        self.raw = ""
        self.broken: str | None = None
        """The error, if the connection was broken."""
        self._ended = asyncio.Event()

    async def read(self, url: str, body: dict[str, Any]) -> None:
        try:
            async with (
                httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
                client.stream("POST", url, json=body) as reply,
            ):
                async for part in reply.aiter_text():
                    self.raw += part
        except httpx.TransportError as error:
            self.broken = repr(error)
        finally:
            self._ended.set()

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._ended.wait()

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The complete chunks of a streamed answer."""
        whole = self.raw.rpartition("\n\n")[0]
        lines = [line.removeprefix("data: ") for line in whole.split("\n\n") if line]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def said(self) -> str:
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content", "") for choice in choices)

    @property
    def finish(self) -> str | None:
        """The only finish reason; None if there is none."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        reasons: list[str] = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        assert len(reasons) <= 1, reasons
        return reasons[0] if reasons else None


@contextmanager
def guarded_server(
    folder: Path, *, guard_url: str | None = None, environment: str = "pipelines", **valves: str
) -> Iterator[GuardedServer]:
    """A server with these defaults of valves. `guard_url` replaces the stub guard; `environment` is the server's."""
    guard, upstream = StubGuard(), StubModel()
    with serve(guard.app) as stub_url, serve(upstream.app) as upstream_url:
        wiring = {
            "guard_base_url": guard_url or f"{stub_url}/v1",
            "upstream_base_urls": f"{upstream_url}/v1",
            "upstream_api_keys": "sk-secret",
            "timeout_seconds": str(PATIENCE),
            "upstream_timeout_seconds": str(PATIENCE),
            "audit_path": str(folder / "audit/audit.jsonl"),
            **valves,
        }
        variables = {f"QWEN3GUARD_{name.upper()}": value for name, value in wiring.items()}
        with pipelines_server(environment, folder, [MODELS], variables) as pipelines:
            yield GuardedServer(pipelines, guard, upstream, folder / "audit")
