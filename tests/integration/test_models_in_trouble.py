"""Guarded models while a guard, an upstream or the Pipelines server itself is slow, silent or dead."""

import asyncio
import os
import signal

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.processes.guard_process import KEY, guard_process
from tests.stands.processes.guarded_server import GuardedServer, Received, guarded_server
from tests.stands.waiting import PATIENCE, until

EN = TEXTS["en"]
SEA = "It was a calm day by the sea, and the two of them walked along the shore until it was dark. "
# The stub flags this word; no byte of it may reach a client, whatever fails.
UNSAFE = "Then build the bomb so. "
# The limit for a silent upstream.
UPSTREAM_SECONDS = 10


async def something_shown(received: Received) -> None:
    await until(lambda: received.said)


async def calls_are_cut(guarded: GuardedServer, count: int = 1) -> None:
    """All calls of the upstream end, and none of them by itself."""
    await until(lambda: guarded.upstream.streaming == 0)
    assert guarded.upstream.whole == [False] * count


def decisions(guarded: GuardedServer) -> list[tuple[str, str | None]]:
    return [(record["direction"], record.get("action")) for record in guarded.audit()]


async def audited(guarded: GuardedServer, count: int) -> list[tuple[str, str | None]]:
    """The decisions, when there are this many; a moment later there are no more."""
    await until(lambda: len(decisions(guarded)) >= count)
    await asyncio.sleep(0.2)
    return decisions(guarded)


def answers_nothing_before(guarded: GuardedServer, answer: str) -> None:
    """A slow guard: the first verdict comes when the guard was asked about the whole answer."""
    guarded.guard.waits_for = answer.strip()


async def test_a_streamed_answer_is_completed_with_a_slow_guard(guarded: GuardedServer) -> None:
    guarded.upstream.says(SEA * 3)
    guarded.upstream.stops_after = 9
    # The last check begins when the upstream has ended, even if other checks are in flight.
    answers_nothing_before(guarded, SEA * 3)
    async with guarded.asking("How was the day?") as received:
        # Meanwhile empty chunks keep the connection open.
        await until(lambda: len(received.chunks) > 2)
        assert received.said == ""
        guarded.upstream.stops_after = None
        await received.ended()
    assert (received.said, received.finish) == (SEA * 3, "stop")
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "pass")]


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_unsafe_is_shown_with_a_slow_guard(guarded: GuardedServer, stream: bool) -> None:
    answer = SEA * 2 + UNSAFE + SEA
    answers_nothing_before(guarded, answer)
    guarded.upstream.says(answer)
    received = await guarded.ask(f"How was the evening, streamed {stream}?", stream=stream)
    assert "bomb" not in received.raw
    assert EN["answer_withheld"] in received.raw
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "refuse")]


async def test_an_unstreamed_answer_is_completed_with_a_slow_guard(guarded: GuardedServer) -> None:
    # The upstream answers at once, so the prompt and the answer are judged at the same time.
    answers_nothing_before(guarded, "Hello there, my friend.")
    received = await guarded.ask("Who are you?", stream=False)
    assert "Hello there, my friend." in received.raw
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "pass")]


async def test_an_upstream_that_becomes_silent_is_abandoned(guarded: GuardedServer) -> None:
    guarded.upstream.says(SEA * 3 + UNSAFE)
    guarded.upstream.stops_after = 40
    with guarded.valves(upstream_timeout_seconds=UPSTREAM_SECONDS):
        received = await guarded.ask("What is it like by the sea?")
    assert received.said
    assert SEA.startswith(received.said[: len(SEA)])
    assert f"did not answer within {UPSTREAM_SECONDS} s" in received.chunks[-2]["error"]["message"]
    assert (received.finish, received.raw.endswith("data: [DONE]\n\n")) == ("error", True)
    await calls_are_cut(guarded)
    assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "pass")]
    assert "did not answer" in guarded.audit()[-1]["problem"]


async def test_a_killed_server_leaves_nothing_running_and_starts_again(guarded: GuardedServer) -> None:
    # None is refused, or complete, before the server is killed.
    guarded.upstream.says(SEA * 3 + UNSAFE + SEA * 40)
    guarded.upstream.stops_after = 60
    asked = [guarded.asking(f"hi {number}") for number in range(5)]
    readers = [await context.__aenter__() for context in asked]
    for received in readers:
        await something_shown(received)
    await until(lambda: len(decisions(guarded)) == len(asked))
    guarded.pipelines.process.kill()
    for context, received in zip(asked, readers, strict=True):
        await received.ended()
        await context.__aexit__(None, None, None)
        assert received.broken
        assert "bomb" not in received.raw
        assert (SEA * 3).startswith(received.said)
    await calls_are_cut(guarded, 5)
    # Each client that was shown text had a judged prompt. The killed server could not judge the answers' ends.
    assert decisions(guarded) == [("prompt", "pass")] * 5
    guarded.pipelines.process.wait(PATIENCE)
    await asyncio.to_thread(guarded.pipelines.start)
    guarded.upstream.stops_after = None
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
            # It would take minutes.
            answer = "Paris is the capital of France. " * 800
            guarded.upstream.says(answer)
            guarded.upstream.delay = 0.05
            async with guarded.asking("What is the capital of France?") as received:
                await something_shown(received)
                os.killpg(guard.session(), signal.SIGKILL)
                await received.ended()
            shown = received.said.removesuffix("\n\n" + EN["not_checked"])
            assert received.said.endswith(EN["not_checked"])
            assert answer.startswith(shown)
            assert received.finish == "content_filter"
            await calls_are_cut(guarded)
            assert await audited(guarded, 2) == [("prompt", "pass"), ("response", "withhold")]
            assert "cannot be reached" in guarded.audit()[-1]["problem"]
            assert EN["not_checked"] in (await guarded.ask("And of Italy?", stream=False)).raw
