"""Cutting a conversation to the guard's context: context is dropped oldest first, a long turn is read in windows."""

import asyncio
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
# No text of words has longer tokens; what has more characters per token is cut smaller than it need be, and a count is
# never asked for more text than this.
_MOST_CHARS_PER_TOKEN = 16


async def fit(conversation: Conversation, room: int, count: Count) -> list[Conversation]:
    """Conversations of at most `room` tokens which together show all of the last turn.

    Args:
        conversation: turns, oldest first.
        room: tokens that a prompt may have.
        count: tokens of a conversation, template included; an upper bound will do. It is asked for conversations of at
            most 16 characters for each token of `room`.

    Returns:
        One conversation where the turn fits, with as much context as fits; else one per window.

    Raises:
        TooLong: `room` is too small for any window.
    """
    *context, turn = conversation
    while context:
        if await _fits([*context, turn], room, count):
            return [[*context, turn]]
        context = context[len(context) // 2 + 1 :]
    head = _question(conversation, room)
    if await _fits([*head, turn], room, count):
        return [[*head, turn]]
    size = await _window_size(head, turn, room, count)
    step = int(size * (1 - _OVERLAP))
    windows = [turn.text[start : start + size] for start in range(0, len(turn.text) - size + step, step)]
    fitted: list[Conversation] = []
    for window in windows:
        # A text may have a thousand windows, and others wait for the same event loop.
        await asyncio.sleep(0)
        fitted += await fit([*head, turn._replace(text=window)], room, count)
    return fitted


async def _fits(conversation: Conversation, room: int, count: Count) -> bool:
    return _chars(conversation) <= room * _MOST_CHARS_PER_TOKEN and await count(conversation) <= room


async def _window_size(head: Conversation, turn: Turn, room: int, count: Count) -> int:
    """Characters of `turn` that are likely to fit behind `head`, by the density of its beginning."""
    empty = await count([*head, turn._replace(text="")])
    sample = turn.text[: max(0, room * _MOST_CHARS_PER_TOKEN - _chars(head))]
    size = 0
    if sample and empty < room:
        taken = await count([*head, turn._replace(text=sample)]) - empty
        # A text that counts nothing may still be more characters than a server takes.
        density = max(taken / len(sample), 1 / _MOST_CHARS_PER_TOKEN)
        size = min(int((room - empty) / density * _MARGIN), len(turn.text) - 1)
    if size < _SMALLEST_WINDOW:
        raise TooLong(f"the guard's context leaves no room for a turn: {room} tokens, {empty} of them taken")
    return size


def _chars(conversation: Conversation) -> int:
    return sum(len(turn.text) for turn in conversation)


def _question(conversation: Conversation, room: int) -> list[Turn]:
    """What an answer answers stays with each of its windows: the end of the last prompt."""
    if kind_of(conversation) == "prompt" or len(conversation) < 2 or conversation[-2].role != "user":
        return []
    chars = room // (4 * _MOST_TOKENS_PER_CHAR)
    return [conversation[-2]._replace(text=conversation[-2].text[-chars:])] if chars > 0 else []
