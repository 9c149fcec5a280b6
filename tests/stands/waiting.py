"""Waits for events in a server or in another thread."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PATIENCE = 300.0
"""Seconds that no test may exceed, even on a slow machine: a Python that loads vLLM takes minutes on busy cores."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Return the seconds until `condition` holds; fail if it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """The same for a test that is not asynchronous."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come in time"
        time.sleep(0.02)
    return time.monotonic() - started


@asynccontextmanager
async def loop_turns() -> AsyncIterator[Callable[[], int]]:
    """How often another task of the event loop has run since."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(take_turns())
    try:
        yield lambda: turns
    finally:
        task.cancel()
