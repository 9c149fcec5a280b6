import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moderation.answer.channels import Channel, Piece, Rank
from moderation.answer.progress import End
from moderation.answer.watch import Watched, Watcher
from moderation.conversation import Turn
from moderation.guard import Guard
from moderation.policy import Policy
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.waiting import PATIENCE, until

CONTENT = Channel(0, Rank.CONTENT, 0, "content")
CALL = Channel(0, Rank.CALL, 0, "arguments")
CONTEXT = [Turn("user", "Tell me something.")]
SAFE = "It was a calm day by the sea, and the two of them walked along the shore until it was dark. " * 4


async def stream(text: str, size: int = 4, pause: float = 0.0) -> AsyncIterator[Piece]:
    for start in range(0, len(text), size):
        yield Piece(CONTENT, text[start : start + size])
        await asyncio.sleep(pause)


async def cleared(after: float = 0) -> None:
    await asyncio.sleep(after)


class Reader:
    """Records what a reader has seen, and when."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.frames: list[tuple[float, str]] = []

    def __call__(self, pieces: Sequence[Piece]) -> None:
        if text := "".join(piece.text for piece in pieces):
            self.frames.append((time.monotonic() - self.started, text))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.frames)


def watcher(guard: Guard, reader: Reader, prompt: float = 0) -> Watcher:
    return Watcher(guard, Policy(), CONTEXT, reader, cleared(prompt))


async def watch(guard: Guard, answer: AsyncIterator[Piece], reader: Reader, prompt: float = 0) -> Watched:
    return await watcher(guard, reader, prompt).watch(answer)


async def test_a_safe_answer_is_emitted_whole_and_soon_with_few_checks(guard: Guard, stub: StubGuard) -> None:
    await guard.judge(CONTEXT)
    stub.delay = 0.02
    reader = Reader()
    watching = watcher(guard, reader)

    async def answer() -> AsyncIterator[Piece]:
        async for piece in stream(SAFE[:200], pause=0.01):
            yield piece
        # The first text is emitted long before the last.
        await until(lambda: reader.text)
        async for piece in stream(SAFE[200:], pause=0.01):
            yield piece

    watched = await watching.watch(answer())
    took = time.monotonic() - reader.started
    assert (watched.end, reader.text) == (End.COMPLETE, SAFE)
    # The first check, a few with doubling pauses, then one per half second, and the last.
    assert watching.checks <= took / 0.5 + 5
    assert len(reader.frames) <= watching.checks


async def test_the_last_check_does_not_wait_for_the_one_before(guard: Guard, stub: StubGuard) -> None:
    await guard.judge(CONTEXT)
    ended = asyncio.Event()

    async def answer() -> AsyncIterator[Piece]:
        async for piece in stream("A calm day. ", pause=0.1):
            yield piece
        ended.set()

    # The first check ends only when the whole answer is being judged. If that waited for the first, both would hang.
    stub.waits_for = "A calm day."
    reader = Reader()
    watched = await asyncio.wait_for(watch(guard, answer(), reader), PATIENCE)
    assert (watched.end, reader.text, ended.is_set()) == (End.COMPLETE, "A calm day. ", True)


async def test_a_tool_call_is_emitted_whole_or_not_at_all(guard: Guard) -> None:
    async def calling(arguments: str) -> AsyncIterator[Piece]:
        yield Piece(CONTENT, "Let me see. ")
        await until(lambda: out)
        for part in arguments.split():
            yield Piece(CALL, f"{part} ")
            await asyncio.sleep(0.15)
        yield Piece(payload=arguments)

    for arguments, said in (("a calm sea ", ["a calm sea "]), ("sea and bomb", [])):
        out: list[Piece] = []
        await Watcher(guard, Policy(), CONTEXT, out.extend, cleared()).watch(calling(arguments))
        assert [piece.payload for piece in out if piece.payload] == said
        assert CALL not in [piece.channel for piece in out]
        assert out[0].text == "Let me see. "


async def test_much_that_was_cleared_is_emitted_in_parts_and_in_order(guard: Guard) -> None:
    """Other answers go on meanwhile."""

    async def answer() -> AsyncIterator[Piece]:
        yield Piece(CONTENT, "A calm day. ")
        for number in range(1000):
            yield Piece(payload=number)

    parts: list[Sequence[Piece]] = []
    await Watcher(guard, Policy(), CONTEXT, parts.append, cleared()).watch(answer())
    emitted = [piece.payload for part in parts for piece in part if piece.channel is None]
    assert emitted == list(range(1000))
    assert max(map(len, parts)) < 200


async def test_the_beginning_of_an_answer_is_judged_with_it(guard: Guard, stub: StubGuard) -> None:
    context = [*CONTEXT, Turn("assistant", "The bo")]
    watched = await Watcher(guard, Policy(), context, Reader(), cleared()).watch(stream("mb "))
    assert watched.end is End.REFUSED
    assert stub.requests[-1]["messages"][0]["content"] == CONTEXT[0].text


async def test_the_unsafe_part_is_never_emitted(guard: Guard) -> None:
    reader = Reader()
    watched = await watch(guard, stream(SAFE + "Then build the bomb so. " + SAFE, pause=0.002), reader)
    assert watched.end is End.REFUSED
    assert SAFE.startswith(reader.text)


async def test_an_upstream_is_not_read_to_its_end_when_refused(guard: Guard) -> None:
    sent = []

    async def endless() -> AsyncIterator[Piece]:
        while True:
            sent.append("bomb ")
            yield Piece(CONTENT, "bomb ")
            await asyncio.sleep(0.01)

    watched = await asyncio.wait_for(watch(guard, endless(), Reader()), PATIENCE)
    assert watched.end is End.REFUSED
    read = len(sent)
    await asyncio.sleep(0.1)
    assert len(sent) == read


async def test_a_flag_on_a_fragment_freezes_and_a_safe_whole_resumes(guard: Guard, stub: StubGuard) -> None:
    reader = Reader()

    async def answer() -> AsyncIterator[Piece]:
        yield Piece(CONTENT, "Never touch a bomb ")
        await until(lambda: watching.last)
        assert reader.text == ""
        stub.nonsense = " Safe"
        yield Piece(CONTENT, "and call the police.")

    watching = watcher(guard, reader)
    watched = await watching.watch(answer())
    assert (watched.end, reader.text) == (End.COMPLETE, "Never touch a bomb and call the police.")


async def test_nothing_is_emitted_before_the_prompt_is_cleared(guard: Guard) -> None:
    reader = Reader()
    await watch(guard, stream(SAFE), reader, prompt=0.4)
    assert reader.frames[0][0] >= 0.4


async def test_an_uncleared_prompt_emits_nothing(guard: Guard) -> None:
    async def refused() -> None:
        raise PermissionError("refused")

    reader = Reader()
    with pytest.raises(PermissionError):
        await Watcher(guard, Policy(), CONTEXT, reader, refused()).watch(stream(SAFE))
    assert reader.frames == []


async def test_without_a_guard_the_answer_is_withheld(guard: Guard, stub: StubGuard) -> None:
    stub.nonsense = "no idea"
    reader = Reader()
    assert (await watch(guard, stream(SAFE), reader)).end is End.WITHHELD
    assert reader.text == ""


async def test_an_upstream_error_is_raised_and_nothing_unjudged_is_emitted(guard: Guard) -> None:
    async def breaking() -> AsyncIterator[Piece]:
        yield Piece(CONTENT, "It was ")
        raise ConnectionError("gone")

    reader = Reader()
    with pytest.raises(ConnectionError):
        await watch(guard, breaking(), reader)
    assert reader.text == "It was "


async def test_retract_emits_at_once_and_still_refuses(guard: Guard, stub: StubGuard) -> None:
    stub.waits_for = "nothing that anybody says"
    reader = Reader()

    async def answer() -> AsyncIterator[Piece]:
        async for piece in stream(SAFE + " a bomb. "):
            yield piece
        await until(lambda: "bomb" in reader.text)
        stub.waits_for = None

    watched = await Watcher(guard, Policy(), CONTEXT, reader, cleared(), hold=False).watch(answer())
    assert watched.end is End.REFUSED


async def test_slow_checks_make_windows_larger_and_not_more_numerous(guard: Guard, stub: StubGuard) -> None:
    stub.delay = 0.4
    reader = Reader()
    watching = watcher(guard, reader)
    await watching.watch(stream(SAFE, pause=0.01))
    # One after another, except the last.
    assert watching.checks <= (time.monotonic() - reader.started) / stub.delay + 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["calm ", "day. ", "好", "sea", "bomb "]), max_size=30),
    size=st.integers(1, 12),
    delay=st.sampled_from([0.0, 0.003]),
)
async def test_emitted_text_is_a_prefix_of_text_that_was_judged_safe(
    guard: Guard, stub: StubGuard, words: list[str], size: int, delay: float
) -> None:
    stub.delay = delay
    text = "".join(words)
    reader = Reader()
    watched = await watch(guard, stream(text, size, 0.001), reader)
    assert (watched.end is End.REFUSED) is ("bomb" in text)
    assert reader.text == text if watched.end is End.COMPLETE else text.split("bomb")[0].startswith(reader.text)
