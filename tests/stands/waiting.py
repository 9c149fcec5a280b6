"""Waits for events in a server or in another thread."""

import asyncio
import time
from collections.abc import Callable

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
