import asyncio

import pytest

from pipelines.loop import BackgroundLoop
from tests.waiting import PATIENCE


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        ended.append("cancelled")


def test_what_runs_is_cancelled_with_the_loop_and_nothing_starts_afterwards() -> None:
    loop, ended = BackgroundLoop(), list[str]()
    running = loop.submit(forever(ended))
    loop.submit(asyncio.sleep(0)).result(PATIENCE)
    loop.stop()
    assert (ended, running.cancelled()) == (["cancelled"], True)
    with pytest.raises(RuntimeError):
        loop.submit(forever(ended))
    loop.stop()
    assert ended == ["cancelled"]
