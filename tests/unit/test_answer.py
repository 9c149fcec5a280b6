"""When a reader counts as gone: its server has dropped it, or an idle server has not asked for a frame for long."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.lifecycle import answer as module
from pipelines.lifecycle.answer import Answer, AnswerWriter
from tests.stands.waiting import PATIENCE, until

BEAT: dict[str, Any] = {"choices": []}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(module, "_WATCH_SECONDS", 0.05)


def busy() -> bool:
    return True


def idle() -> bool:
    return False


async def left_within(writer: AnswerWriter, seconds: float) -> bool:
    try:
        await asyncio.wait_for(writer.abandoned(), seconds)
    except TimeoutError:
        return False
    return True


async def test_a_reader_dropped_by_its_server_counts_as_gone_at_once() -> None:
    writer = AnswerWriter(busy)
    answer = Answer(writer, BEAT)
    watching = asyncio.create_task(writer.abandoned())
    await asyncio.sleep(0.1)
    assert not watching.done()
    del answer
    await asyncio.wait_for(watching, 60)


async def test_a_reader_may_be_dropped_after_its_watcher_was_cancelled() -> None:
    writer = AnswerWriter(idle)
    answer = Answer(writer, BEAT)
    watching = asyncio.create_task(writer.abandoned())
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    del answer
    assert writer.dropped.done()


@pytest.mark.parametrize("server", [idle, busy])
async def test_a_reader_waiting_for_a_busy_server_does_not_count_as_gone(server: Callable[[], bool]) -> None:
    writer = AnswerWriter(server)
    answer = Answer(writer, BEAT)
    await asyncio.to_thread(next, answer)
    assert await left_within(writer, 1.5 if server() else 60) is not server()


async def test_a_waiting_reader_does_not_count_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    # It waits for its frame longer than the patience with a reader who is away.
    monkeypatch.setattr(module, "_BEAT_SECONDS", PATIENCE)
    writer = AnswerWriter(idle)
    reading = asyncio.create_task(asyncio.to_thread(next, Answer(writer, BEAT)))
    await until(lambda: writer.away_since is None)
    assert not await left_within(writer, 1)
    writer.write(BEAT)
    assert json.loads((await reading).removeprefix("data: ")) == BEAT


async def test_a_stop_of_the_process_is_no_absence_of_its_readers() -> None:
    writer = AnswerWriter(idle)
    answer = Answer(writer, BEAT)
    watching = asyncio.create_task(writer.abandoned())
    await asyncio.sleep(0)
    # Nobody can read meanwhile.
    time.sleep(2 * module._PATIENCE_SECONDS)  # noqa: ASYNC251
    for _ in range(10):
        await asyncio.sleep(0)
    assert not watching.done()
    del answer
    await asyncio.wait_for(watching, PATIENCE)
