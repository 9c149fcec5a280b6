import asyncio
import threading

import pytest

from pipelines.lifecycle import loop as loop_module
from pipelines.lifecycle.loop import BackgroundLoop
from tests.stands.waiting import PATIENCE


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        ended.append("cancelled")


def test_running_tasks_are_cancelled_with_the_loop_and_none_starts_afterwards() -> None:
    loop, ended = BackgroundLoop(), list[str]()
    running = loop.submit(forever(ended))
    loop.submit(asyncio.sleep(0)).result(PATIENCE)
    loop.stop()
    assert (ended, running.cancelled()) == (["cancelled"], True)
    with pytest.raises(RuntimeError):
        loop.submit(forever(ended))
    loop.stop()
    assert ended == ["cancelled"]


async def test_cancelling_does_not_wait_for_a_busy_loop() -> None:
    loop, ended, free = BackgroundLoop(), list[str](), threading.Event()
    waiting = asyncio.ensure_future(loop.run(forever(ended)))
    await asyncio.wrap_future(loop.submit(asyncio.sleep(0)))

    async def block() -> None:
        free.wait(PATIENCE)

    busy = loop.submit(block())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not busy.done()
    free.set()
    await asyncio.wrap_future(busy)
    loop.stop()
    assert ended == ["cancelled"]


def test_a_task_that_ignores_its_cancellation_does_not_delay_the_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_STOP_SECONDS", 0.5)
    loop, seen = BackgroundLoop(), threading.Event()

    async def stubborn() -> None:
        while not seen.is_set():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.set()
                await asyncio.sleep(PATIENCE)

    loop.submit(stubborn())
    loop.submit(asyncio.sleep(0)).result(PATIENCE)
    loop.stop()
    assert seen.is_set()
    with pytest.raises(RuntimeError):
        loop.submit(asyncio.sleep(0))
