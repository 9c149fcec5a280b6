"""Cutting a conversation to the guard's context: context is dropped oldest first, a long turn is read in windows."""

from collections.abc import Awaitable, Callable

from moderation.conversation import Conversation, Turn, kind_of
from moderation.errors import TooLong

Count = Callable[[Conversation], Awaitable[int]]

# A window is a bit smaller than the turn's average density allows, since density varies along a text.
_MARGIN = 0.8
# Neighbouring windows share this part of their length, so that no sentence is only ever seen cut in two.
_OVERLAP = 0.125
# Below this a window says nothing: the context is too small to judge anything.
_SMALLEST_WINDOW = 64
# A UTF-8 character is at most four bytes, and a byte-level token at least one byte.
_MOST_TOKENS_PER_CHAR = 4


async def fit(conversation: Conversation, room: int, count: Count) -> list[Conversation]:
    """Conversations of at most `room` tokens which together show all of the last turn.

    Args:
        conversation: turns, oldest first.
        room: tokens that a prompt may have.
        count: tokens of a conversation, template included; an upper bound will do.

    Returns:
        One conversation where the turn fits, with as much context as fits; else one per window.

    Raises:
        TooLong: `room` is too small for any window.
    """
    *context, turn = conversation
    while context:
        if await count([*context, turn]) <= room:
            return [[*context, turn]]
        context = context[len(context) // 2 + 1 :]
    head = _question(conversation, room)
    if await count([*head, turn]) <= room:
        return [[*head, turn]]
    empty = await count([*head, turn._replace(text="")])
    density = (await count([*head, turn]) - empty) / len(turn.text)
    size = min(int((room - empty) / density * _MARGIN), len(turn.text) - 1)
    if size < _SMALLEST_WINDOW:
        raise TooLong(f"the guard's context leaves no room for a turn: {room} tokens, {empty} of them taken")
    step = int(size * (1 - _OVERLAP))
    windows = [turn.text[start : start + size] for start in range(0, len(turn.text) - size + step, step)]
    fitted: list[Conversation] = []
    for window in windows:
        fitted += await fit([*head, turn._replace(text=window)], room, count)
    return fitted


def _question(conversation: Conversation, room: int) -> list[Turn]:
    """What an answer answers stays with each of its windows: the end of the last prompt."""
    if kind_of(conversation) == "prompt" or len(conversation) < 2 or conversation[-2].role != "user":
        return []
    chars = room // (4 * _MOST_TOKENS_PER_CHAR)
    return [conversation[-2]._replace(text=conversation[-2].text[-chars:])]
