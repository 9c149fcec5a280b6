"""Fits a conversation into the guard's context: drops the oldest turns first, and splits a long turn into windows."""

import asyncio
from collections.abc import Awaitable, Callable

from moderation.conversation import Conversation, Turn, kind_of
from moderation.errors import TooLong

Count = Callable[[Conversation], Awaitable[int]]

# A window is smaller than the turn's average of tokens per character allows, since that varies along a text.
_MARGIN = 0.8
# Neighbouring windows share this part of their length, so that each sentence is whole in one of them.
_OVERLAP = 0.125
# Characters. A smaller window is of no use: the guard's context is too small to judge anything.
_SMALLEST_WINDOW = 64
# A UTF-8 character is at most four bytes, and a byte-level token at least one byte.
_MOST_TOKENS_PER_CHAR = 4
# No text of words has longer tokens. Other text is cut smaller than necessary, and `count` never gets more text than
# this per token of room.
_MOST_CHARS_PER_TOKEN = 16


async def fit(conversation: Conversation, room: int, count: Count) -> list[Conversation]:
    """Conversations of at most `room` tokens that together contain all of the last turn.

    Args:
        conversation: turns, oldest first.
        room: tokens that a prompt may have.
        count: tokens of a conversation, template included; an upper bound is enough. It is called with conversations
            of at most 16 characters per token of `room`.

    Returns:
        One conversation if the turn fits, with as much context as fits; else one per window.

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
        # A text may have a thousand windows: let the event loop run other tasks in between.
        await asyncio.sleep(0)
        fitted += await fit([*head, turn._replace(text=window)], room, count)
    return fitted


async def _fits(conversation: Conversation, room: int, count: Count) -> bool:
    return _chars(conversation) <= room * _MOST_CHARS_PER_TOKEN and await count(conversation) <= room


async def _window_size(head: Conversation, turn: Turn, room: int, count: Count) -> int:
    """Characters of `turn` that are likely to fit after `head`, estimated from the tokens of its beginning."""
    empty = await count([*head, turn._replace(text="")])
    sample = turn.text[: max(0, room * _MOST_CHARS_PER_TOKEN - _chars(head))]
    size = 0
    if sample and empty < room:
        taken = await count([*head, turn._replace(text=sample)]) - empty
        # Even if the text counts as no tokens, it may have more characters than a server accepts.
        density = max(taken / len(sample), 1 / _MOST_CHARS_PER_TOKEN)
        size = min(int((room - empty) / density * _MARGIN), len(turn.text) - 1)
    if size < _SMALLEST_WINDOW:
        raise TooLong(f"the guard's context leaves no room for a turn: {room} tokens, {empty} of them taken")
    return size


def _chars(conversation: Conversation) -> int:
    return sum(len(turn.text) for turn in conversation)


def _question(conversation: Conversation, room: int) -> list[Turn]:
    """The end of the prompt before an answer: it is sent with each window of the answer."""
    if kind_of(conversation) == "prompt" or len(conversation) < 2 or conversation[-2].role != "user":
        return []
    chars = room // (4 * _MOST_TOKENS_PER_CHAR)
    return [conversation[-2]._replace(text=conversation[-2].text[-chars:])] if chars > 0 else []
