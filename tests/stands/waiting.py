"""Waiting for what happens elsewhere, in a server or in another thread."""

import asyncio
import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds for what must not run out in a test, however slow the machine is: a Python that loads vLLM takes minutes on
busy cores."""

SOON = 15.0
"""Seconds within which what ends at once has ended, also while other tests use the machine. A test that waits for it
has something that would go on for longer."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Return when `condition` holds, with the seconds that took; fail where it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """The same in a test that is not asynchronous."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come in time"
        time.sleep(0.02)
    return time.monotonic() - started
