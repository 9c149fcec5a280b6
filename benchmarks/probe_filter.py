"""A filter that changes nothing and reports figures of its process, for `benchmarks.growth_bench`.

In the same Pipelines server as another filter, it shows the server's own cost for a body. If an inlet's body has
`probe`, it returns figures instead of the body: the processor time of the process so far, and the longest block of the
server's event loop since the last inlet with `"probe": "watch"`.
"""

import asyncio
import time
from typing import Any

from pydantic import BaseModel

_TICK_SECONDS = 0.001


class Valves(BaseModel):
    """The valves that the Pipelines server requires of a filter."""

    pipelines: list[str] = ["*"]
    priority: int = 0


class Pipeline:
    """The class that the Pipelines server loads."""

    def __init__(self) -> None:
        self.type, self.name, self.valves = "filter", "probe", Valves()
        self._ticking: asyncio.Task[None] | None = None
        self._longest = 0.0

    async def inlet(self, body: dict[str, Any], user: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the body, or the figures."""
        if "probe" not in body:
            return body
        figures = {"cpu_s": time.process_time(), "block_s": self._longest}
        # Ticks take processor time, so they run only while blocks are measured.
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if body["probe"] == "watch":
            self._longest, self._ticking = 0.0, asyncio.create_task(self._tick())
        return figures

    async def outlet(self, body: dict[str, Any], user: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the body."""
        return body

    async def _tick(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self._longest = max(self._longest, time.monotonic() - before - _TICK_SECONDS)
