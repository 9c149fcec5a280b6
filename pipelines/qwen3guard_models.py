"""Guarded models: an upstream's models, with nothing unsafe going in or coming out, whichever way they are called."""

import asyncio
from pathlib import Path
from typing import Any

from pipelines.lifecycle.answer import Answer
from pipelines.lifecycle.loop import BackgroundLoop
from pipelines.lifecycle.saved_valves import mend_saved_valves
from pipelines.lifecycle.shared_valves import SharedValves
from pipelines.marks.judged_mark import put_outlet_mark
from pipelines.marks.signed_notice import REFUSAL_NAME, refuse
from pipelines.marks.signing import unsigned
from pipelines.marks.trust_mark import put_mark
from pipelines.refusal_route import note_answer
from pipelines.service import Capacity, ModelsValves, Service
from pipelines.upstreams.model_ids import REFUSAL_ENTRY, is_guarded
from webui.bodies import Body
from webui.current_service import CurrentService
from webui.log import log

# The server waits for a plugin's start and for Save; upstreams that take longer are listed when they answer.
_START_SECONDS = 3


class Pipeline:
    """What the Pipelines server loads."""

    def __init__(self) -> None:
        self.type = "manifold"
        self.name = ""
        self._home = Path(__file__).with_suffix("")
        self.valves = ModelsValves()
        self._at_start = [mend_saved_valves(self._home), unsigned(), *self.valves.problems]
        self._shared = SharedValves(self._home, self)
        self._loop: BackgroundLoop | None = None
        self._services = CurrentService(self._make_service, self._retire)
        self._serving: set[Service] = set()
        self._capacity = Capacity()

    async def on_startup(self) -> None:
        await self._settle()
        self._shared.start()

    async def on_valves_updated(self) -> None:
        await self._settle()

    async def on_shutdown(self) -> None:
        self._shared.stop()
        loop, self._loop = self._loop, None
        self._services.take()
        if loop:
            await asyncio.gather(*(loop.run(service.aclose(at_once=True)) for service in list(self._serving)))
            await asyncio.to_thread(loop.stop)

    def pipelines(self) -> list[dict[str, str]]:
        """The guarded models, from memory: the server asks at every request."""
        service = self._services.made
        entries = service.entries if service else []
        return [*entries, {"id": REFUSAL_ENTRY, "name": REFUSAL_NAME}] if self.valves.refusal_entry else entries

    async def inlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The request, marked for `pipe`."""
        put_mark(body, user or {})
        return body

    async def outlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The chat, marked for the filter's outlet: its newest answer was judged here."""
        if is_guarded(body.get("model")):
            put_outlet_mark(body)
        return body

    def pipe(self, user_message: Any, model_id: str, messages: list[Body], body: Body) -> Body | Answer | Any:
        """The answer; if it is streamed, an iterator of lines.

        Raises:
            HTTPException: the upstream failed, unstreamed.
        """
        if model_id == REFUSAL_ENTRY:
            note_answer(self._home, body.get("user"))
            return refuse(user_message, model_id, body)
        service = self._current()
        return service.stream(model_id, body) if body.get("stream") else service.complete(model_id, body)

    async def _settle(self) -> None:
        self._capacity.threads.provide(self.valves.threads)
        service = self._current()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await service.listed()
        except TimeoutError:
            log.warning("no upstream has listed its models yet; asking on")

    def _current(self) -> Service:
        return self._services.of(self.valves)

    def _make_service(self, valves: ModelsValves) -> Service:
        if self._loop is None:
            self._loop = BackgroundLoop()
        service = Service(valves, self._home, self._loop, self._capacity)
        self._serving.add(service)
        service.moderator.report(self._at_start)
        self._at_start = []
        return service

    def _retire(self, service: Service) -> None:
        """It finishes what it serves."""
        if self._loop:
            self._loop.submit(self._close(service))

    async def _close(self, service: Service) -> None:
        await service.aclose(at_once=False)
        self._serving.discard(service)
