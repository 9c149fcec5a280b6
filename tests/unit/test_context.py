"""Chats with chained keys, and the part of a chat that a guard reads."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.context import NO_CONTEXT, Context, TurnReading, text_key
from moderation.context_window import ContextWindows, surely_fitting
from moderation.conversation import Role, Turn
from moderation.endpoint.server_tokens import TEMPLATE_TOKENS


def reading(text: str, undone: str | None = None) -> TurnReading:
    return TurnReading(text, undone, text_key(text), len(text.encode()))


def chat(*turns: tuple[Role, str]) -> Context:
    context = NO_CONTEXT
    for role, text in turns:
        context = context.then(role, reading(text))
    return context


def long_chat(turns: int, size: int) -> Context:
    return chat(*(("assistant" if n % 2 else "user", f"{n:04} " + "a" * (size - 5)) for n in range(turns)))


def test_different_chats_have_different_keys() -> None:
    turns: list[tuple[Role, str]] = [("user", "a"), ("assistant", "a"), ("user", "ab"), ("user", "b"), ("user", "é")]
    keys = [chat(*some).key for count in range(3) for some in itertools.permutations(turns, count)]
    keys += [NO_CONTEXT.key_with("user", reading("a", undone)) for undone in ("b", "c")]
    assert len(set(keys)) == len(keys)


def test_equal_chats_have_equal_keys_and_the_verdicts_key_is_the_next_chats() -> None:
    some = chat(("user", "a"), ("assistant", "b"))
    assert some.key == chat(("user", "a"), ("assistant", "b")).key
    assert some.key_with("user", reading("c")) == some.then("user", reading("c")).key
    assert some.then("user", reading("")) is some


def test_turns_come_oldest_first() -> None:
    some = chat(("user", "a"), ("assistant", "b"), ("user", "c"))
    assert some.turns(0) == [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")]
    assert some.turns(2) == [Turn("user", "c")]
    assert some.turns(3) == []


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=60),
    size=st.integers(0, 5000),
    room=st.integers(500, 12_000),
    counted=st.floats(0.1, 1),
)
def test_the_window_fits(sizes: list[int], size: int, room: int, counted: float) -> None:
    """The guard counts `counted` tokens per byte. Its count for each chat is learned before the next one."""
    windows, context = ContextWindows(), NO_CONTEXT
    for number, length in enumerate(sizes):
        context = context.then("assistant" if number % 2 else "user", reading(str(number % 10) * length))
        start = windows.start(context, size, room)
        kept = sum(len(turn.text) for turn in context.turns(start))
        if start < context.length:
            # All texts have the same tokens per byte here, so the mean is exact.
            assert TEMPLATE_TOKENS + kept * counted + size <= room * 1.01 or kept + TEMPLATE_TOKENS + size <= room
        sure = surely_fitting(context, size, room)
        assert not sure or TEMPLATE_TOKENS + size + sum(len(turn.text) for turn in sure) <= room
        windows.learn(context, start, room, TEMPLATE_TOKENS + int(kept * counted))


def test_a_window_stays_for_many_turns() -> None:
    windows, context, room, starts = ContextWindows(), NO_CONTEXT, 32_000, []
    for number in range(400):
        context = context.then("assistant" if number % 2 else "user", reading(f"{number:04} " + "a" * 995))
        start = windows.start(context, 1000, room)
        kept = context.length - start
        windows.learn(context, start, room, 600 + kept * 250)
        starts.append(start)
    moves = [n for n, (before, after) in enumerate(itertools.pairwise(starts)) if after != before]
    # Half of the room is freed at once: 12,000 tokens, 48 turns.
    assert min(after - before for before, after in itertools.pairwise(moves)) >= 30
    assert len(moves) <= 10
    # The rest takes more than a quarter of the room.
    assert min(n + 1 - start for n, start in enumerate(starts) if n > 100) * 250 >= room / 4


@pytest.mark.parametrize("turns", [0, 1, 5, 300])
def test_a_streamed_answer_has_few_windows(turns: int) -> None:
    windows, context = ContextWindows(), long_chat(turns, 1000)
    starts = [windows.start(context, size, 32_000) for size in range(0, 40_000, 100)]
    assert starts == sorted(starts)
    assert len(set(starts)) <= 8
    # With a turn that fills the room there is no context.
    assert starts[-1] == context.length


def test_a_chat_first_seen_late_is_cut_in_the_same_way() -> None:
    context = long_chat(300, 1000)
    one, other = ContextWindows(), ContextWindows()
    starts = [one.start(node, 500, 16_000) for node in context.newest_first()]
    assert starts == [other.start(node, 500, 16_000) for node in reversed(list(context.newest_first()))][::-1]


def test_no_room_for_context_is_no_error() -> None:
    context = long_chat(10, 1000)
    for room in (-5, 0, 100, 1024, 1100):
        assert ContextWindows().start(context, 10, room) == 10
        assert surely_fitting(context, 10, room) == []
