import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.conversation import Conversation, Turn
from moderation.errors import TooLong
from moderation.windows import fit


async def count(conversation: Conversation) -> int:
    """A template of 40 tokens, plus a token per letter and per byte of any other character."""
    return 40 + sum(len(turn.text.encode()) for turn in conversation)


@given(
    text=st.text(alphabet="ab 漢字🙂\n", min_size=1, max_size=3000),
    context=st.lists(st.text(alphabet="ab漢", max_size=300), max_size=5),
    room=st.integers(600, 2000),
    role=st.sampled_from(["user", "assistant"]),
)
async def test_windows_fit_and_together_show_every_character(
    text: str, context: list[str], room: int, role: str
) -> None:
    turns = [Turn("user" if n % 2 else "assistant", past) for n, past in enumerate(context)]
    fitted = await fit([*turns, Turn(role, text)], room, count)  # type: ignore[arg-type]
    covered = 0
    for conversation in fitted:
        assert await count(conversation) <= room
        assert conversation[-1].role == role
        window = conversation[-1].text
        # Windows are in order and overlap: each begins at or before the end of the text covered so far.
        starts = [n for n in range(max(0, covered - len(window)), covered + 1) if text.startswith(window, n)]
        assert starts
        covered = max(covered, starts[-1] + len(window)) if covered else len(window)
    assert covered == len(text)


async def test_a_turn_that_fits_keeps_the_newest_context() -> None:
    turns = [Turn("user", f"{n:03} " + "a" * 96) for n in range(20)]
    (fitted,) = await fit([*turns, Turn("user", "now?")], 700, count)
    assert fitted[-2] == turns[-1]
    assert 1 < len(fitted) < 8


@pytest.mark.parametrize("counted", [0, 25, 10**6])
@pytest.mark.parametrize("text", ["🙂" * 100_000, "安静" * 200_000, "a" * 1_000_000, ""])
@pytest.mark.parametrize("room", [-1000, 0, 20, 900, 30_000])
async def test_any_count_and_any_room_are_handled(text: str, room: int, counted: int) -> None:
    longest = 0

    async def constant(conversation: Conversation) -> int:
        nonlocal longest
        longest = max(longest, sum(len(turn.text) for turn in conversation))
        return counted

    turns = [Turn("user", "why? " * 50_000), Turn("assistant", text)]
    try:
        fitted = await fit(turns, room, constant)
    except TooLong:
        assert room < max(counted, 64)
    else:
        assert sum(len(conversation[-1].text) for conversation in fitted) >= len(text)
    # Text that cannot fit is never counted.
    assert longest <= max(0, room) * 17


async def test_a_context_too_small_for_anything_is_an_error() -> None:
    with pytest.raises(TooLong, match="no room for a turn"):
        await fit([Turn("user", "a" * 500)], 60, count)
