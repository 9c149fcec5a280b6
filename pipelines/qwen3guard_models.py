"""Guarded models: an upstream's models, with nothing unsafe going in or coming out, whichever way they are called."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from anyio.to_thread import current_default_thread_limiter

from pipelines.answer import Answer
from pipelines.log import log
from pipelines.loop import BackgroundLoop
from pipelines.mark import put_mark
from pipelines.model_ids import REFUSAL_ENTRY
from pipelines.refusal import refuse
from pipelines.service import ModelsValves, Service
from pipelines.signing import unsigned
from pipelines.valves import mend_saved_valves
from pipelines.webui import Body

# The server waits for a plugin's start and for Save; upstreams that take longer are listed when they answer.
_START_SECONDS = 3


class Pipeline:
    """What the Pipelines server loads."""

    def __init__(self) -> None:
        self.type = "manifold"
        self.name = ""
        self._home = Path(__file__).with_suffix("")
        self._at_start = [mend_saved_valves(self._home), unsigned()]
        self.valves = ModelsValves()
        self._lock = threading.Lock()
        self._loop: BackgroundLoop | None = None
        self._service: Service | None = None
        self._serving: set[Service] = set()

    async def on_startup(self) -> None:
        await self._settle()

    async def on_valves_updated(self) -> None:
        await self._settle()

    async def on_shutdown(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
            self._service, serving = None, list(self._serving)
        if loop:
            await asyncio.gather(*(loop.run(service.aclose(at_once=True)) for service in serving))
            await asyncio.to_thread(loop.stop)

    def pipelines(self) -> list[dict[str, str]]:
        """The guarded models, from memory: the server asks at every request."""
        entries = self._service.entries if self._service else []
        return [*entries, {"id": REFUSAL_ENTRY, "name": "Qwen3Guard refusal"}] if self.valves.refusal_entry else entries

    async def inlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The request, marked for `pipe`."""
        put_mark(body, user or {})
        return body

    def pipe(self, user_message: Any, model_id: str, messages: list[Body], body: Body) -> Body | Answer | Any:
        """The answer: an iterator of lines where it is streamed.

        Raises:
            HTTPException: the upstream failed, unstreamed.
        """
        if model_id == REFUSAL_ENTRY:
            return refuse(user_message, model_id, body)
        service = self._current()
        return service.stream(model_id, body) if body.get("stream") else service.complete(model_id, body)

    async def _settle(self) -> None:
        limiter = current_default_thread_limiter()
        limiter.total_tokens = max(limiter.total_tokens, self.valves.threads)
        service = self._current()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await service.listed()
        except TimeoutError:
            log.warning("no upstream has listed its models yet; asking on")

    def _current(self) -> Service:
        """Made anew when the valves were replaced, which the server does by itself. Called in any thread."""
        with self._lock:
            if self._loop is None:
                self._loop = BackgroundLoop()
            if self._service is None or self._service.valves is not self.valves:
                retired, self._service = self._service, Service(self.valves, self._home, self._loop)
                self._serving.add(self._service)
                if retired:
                    # It finishes what it serves, and nobody's Save waits for that.
                    self._loop.submit(self._retire(retired))
                self._service.moderator.report(self._at_start)
                self._at_start = []
            return self._service

    async def _retire(self, service: Service) -> None:
        await service.aclose(at_once=False)
        self._serving.discard(service)
