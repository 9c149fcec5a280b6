"""Guarded models while a guard, an upstream or the Pipelines server itself is slow, silent or dead."""

import asyncio
import os
import signal
import time

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.processes.guard_process import KEY, guard_process
from tests.stands.processes.guarded_server import UPSTREAM_SECONDS, GuardedServer, Received, guarded_server
from tests.stands.waiting import PATIENCE, SOON, until

EN = TEXTS["en"]
SEA = "It was a calm day by the sea, and the two of them walked along the shore until it was dark. "
# The stub flags this word; no byte of it may reach a client, whatever fails.
UNSAFE = "Then build the bomb so. "
# Seconds of a check by the slow guard; two consecutive checks take twice as long.
SLOW = 6


async def something_shown(received: Received) -> None:
    await until(lambda: received.said)


async def closed_after(guarded: GuardedServer, event: float) -> float:
    """Seconds from an event until the upstream's server has seen the end of every call."""
    await until(lambda: guarded.upstream.streaming == 0)
    return max(guarded.upstream.closed) - event


def decisions(guarded: GuardedServer) -> list[tuple[str, str | None]]:
    return [(record["direction"], record.get("action")) for record in guarded.audit()]


async def audited(guarded: GuardedServer, count: int) -> list[tuple[str, str | None]]:
    """The decisions, when there are this many; a moment later there are no more."""
    await until(lambda: len(decisions(guarded)) >= count)
    await asyncio.sleep(0.2)
    return decisions(guarded)


async def test_a_streamed_answer_is_completed_with_a_slow_guard(guarded: GuardedServer) -> None:
    guarded.guard.delay = SLOW
    guarded.upstream.says(SEA * 3)
    guarded.upstream.delay = 0.05
    received = await guarded.ask("How was the day?")
    assert (received.said, received.finish) == (SEA * 3, "stop")
    # The upstream writes for four seconds. The last check begins when it has ended, even if another check is in flight.
    assert received.times[-1] - guarded.upstream.closed[-1] < 1.5 * SLOW
    assert received.longest_silence < SLOW / 2
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "pass")]


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_unsafe_is_shown_with_a_slow_guard(guarded: GuardedServer, stream: bool) -> None:
    guarded.guard.delay = SLOW
    guarded.upstream.says(SEA * 2 + UNSAFE + SEA)
    guarded.upstream.delay = 0.02
    received = await guarded.ask(f"How was the evening, streamed {stream}?", stream=stream)
    assert "bomb" not in received.raw
    assert EN["answer_withheld"] in received.raw
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "refuse")]


async def test_an_unstreamed_answer_is_completed_with_a_slow_guard(guarded: GuardedServer) -> None:
    guarded.guard.delay = SLOW
    received = await guarded.ask("Who are you?", stream=False)
    assert "Hello there, my friend." in received.raw
    # The upstream answers at once, so the prompt and the answer are judged at the same time.
    assert SLOW < received.times[-1] - received.times[0] < 1.5 * SLOW
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "pass")]


async def test_an_upstream_that_becomes_silent_is_abandoned(guarded: GuardedServer) -> None:
    guarded.upstream.says(SEA * 3 + UNSAFE)
    guarded.upstream.delay = 0.02
    async with guarded.asking("What is it like by the sea?") as received:
        await something_shown(received)
        guarded.upstream.delay = 60
        silent = time.monotonic()
        await received.ended()
    assert SEA.startswith(received.said[: len(SEA)])
    assert f"did not answer within {UPSTREAM_SECONDS} s" in received.chunks[-2]["error"]["message"]
    assert (received.finish, received.raw.endswith("data: [DONE]\n\n")) == ("error", True)
    assert await closed_after(guarded, silent) < UPSTREAM_SECONDS + SOON
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "pass")]
    assert "did not answer" in guarded.audit()[-1]["problem"]


async def test_a_killed_server_leaves_nothing_running_and_starts_again(guarded: GuardedServer) -> None:
    guarded.upstream.says(SEA * 3 + UNSAFE + SEA * 40)
    guarded.upstream.delay = 0.05
    asked = [guarded.asking(f"hi {number}") for number in range(5)]
    readers = [await context.__aenter__() for context in asked]
    for received in readers:
        await something_shown(received)
    await until(lambda: len(decisions(guarded)) == len(asked))
    guarded.pipelines.process.kill()
    killed = time.monotonic()
    for context, received in zip(asked, readers, strict=True):
        await received.ended()
        await context.__aexit__(None, None, None)
        assert received.broken
        assert "bomb" not in received.raw
        assert (SEA * 3).startswith(received.said)
    assert await closed_after(guarded, killed) < SOON
    # Each client that was shown text had a judged prompt. The killed server could not judge the answers' ends.
    assert decisions(guarded) == [("prompt", "pass")] * 5
    guarded.pipelines.process.wait(PATIENCE)
    await asyncio.to_thread(guarded.pipelines.start)
    guarded.upstream.delay = 0
    again = await guarded.ask("hi again")
    assert "bomb" not in again.raw
    assert EN["answer_withheld"] in again.raw
    assert await audited(guarded, 7) == [("prompt", "pass")] * 6 + [("response", "refuse")]


async def test_a_server_that_is_asked_to_stop_ends_its_answers_first(guarded: GuardedServer) -> None:
    guarded.upstream.says(SEA * 3)
    guarded.upstream.delay = 0.05
    async with guarded.asking("Where were the two?") as received:
        await something_shown(received)
        guarded.pipelines.process.terminate()
        await received.ended()
    assert (received.said, received.finish, received.broken) == (SEA * 3, "stop", None)
    await asyncio.to_thread(guarded.pipelines.process.wait, PATIENCE)
    assert decisions(guarded) == [("prompt", "pass"), ("response", "pass")]
    await asyncio.to_thread(guarded.pipelines.start)
    assert "Hello" in (await asked_as_new(guarded)).said


async def asked_as_new(guarded: GuardedServer) -> Received:
    guarded.as_new()
    return await guarded.ask()


async def test_if_a_real_guard_is_killed_during_a_stream_the_rest_is_withheld(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with guard_process("demo", key=KEY) as guard:
        guard.wait_for("Try it:")
        folder = tmp_path_factory.mktemp("killed")
        with guarded_server(folder, guard_url=guard.url, guard_api_key=KEY) as guarded:
            answer = "Paris is the capital of France. " * 80
            guarded.upstream.says(answer)
            guarded.upstream.delay = 0.05
            async with guarded.asking("What is the capital of France?") as received:
                await something_shown(received)
                os.killpg(guard.session(), signal.SIGKILL)
                killed = time.monotonic()
                await received.ended()
            shown = received.said.removesuffix("\n\n" + EN["not_checked"])
            assert received.said.endswith(EN["not_checked"])
            assert answer.startswith(shown)
            assert received.finish == "content_filter"
            # The SDK makes two more attempts in between.
            assert await closed_after(guarded, killed) < SOON
            assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "withhold")]
            assert "cannot be reached" in guarded.audit()[-1]["problem"]
            assert EN["not_checked"] in (await guarded.ask("And of Italy?", stream=False)).raw
