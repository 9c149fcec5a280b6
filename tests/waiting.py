"""Waiting for what happens elsewhere, in a server or in another thread."""

import asyncio
import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds for what is not to run out in a test, however slow the machine is."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Return when `condition` holds, with the seconds that took; fail where it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - started
