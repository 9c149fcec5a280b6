"""How much of a chat the guard reads as context of the turn that it judges.

A context that is too long is cut in steps: half of it is dropped at once, and the rest stays the same for many turns.
So the guard's prefix cache holds from turn to turn and from check to check. Token counts come from the guard's own
replies (`usage`); no extra request is made to count tokens.
"""

import math
from typing import NamedTuple

from moderation.context import Context
from moderation.conversation import Turn
from moderation.endpoint.server_tokens import TEMPLATE_TOKENS
from moderation.lru_cache import LruCache

# Cached spans, by chat key. A chat of a hundred turns takes a hundred of them, a few hundred bytes each.
_SPANS_KEPT = 20_000
# The share of the room (without the template) that the context may take before it is cut. The rest is for the turn.
_LARGEST_SHARE = 0.75
# A safety factor on the mean of tokens per byte: the kept part of a chat may have more tokens per byte than the whole.
_UNEVEN = 1.2
# A context of fewer tokens is of no use.
_LEAST_TOKENS = 32


class _Span(NamedTuple):
    """The end of a chat that is sent as context of the next turn."""

    start: int
    """Index of its first turn."""
    size: int
    """Bytes of its turns."""
    tokens: int
    """Tokens of the prompt with these turns, template included: counted by the guard, or a high estimate."""


class ContextWindows:
    """Caches where the window of each chat begins. Use from one event loop."""

    def __init__(self) -> None:
        self._spans: LruCache[tuple[int, bytes], _Span] = LruCache(_SPANS_KEPT)

    def start(self, context: Context, size: int, room: int) -> int:
        """Index of the first turn of `context` to send with a turn of `size` bytes; `context.length` if none fits.

        Args:
            room: tokens that the prompt may have.
        """
        span, left, share = self._span(context, room), room - size, _LARGEST_SHARE / 2
        # In steps here too: a streamed answer gets the same window at most of its checks.
        while span.tokens > left:
            tokens = _tokens(room, share)
            if tokens - TEMPLATE_TOKENS < _LEAST_TOKENS:
                return context.length
            if tokens <= left:
                return _cut(context, span, tokens).start
            share /= 2
        return span.start

    def learn(self, chat: Context, start: int, room: int, tokens: int) -> None:
        """Store the guard's token count for the turns of `chat` from index `start` on.

        Args:
            tokens: of the whole prompt.
        """
        size = sum(node.size for node in _from(chat, start))
        self._spans[room, chat.key] = _Span(start, size, tokens)

    def _span(self, context: Context, room: int) -> _Span:
        """The cached span of `context`, or one computed from the cached span of an earlier state of the chat."""
        span, newer = _Span(0, 0, TEMPLATE_TOKENS), []
        for node in context.newest_first():
            known = self._spans.get((room, node.key))
            if known is not None:
                span = known
                break
            newer.append(node)
        for node in reversed(newer):
            span = _Span(span.start, span.size + node.size, span.tokens + node.size)
            if span.tokens > _tokens(room, _LARGEST_SHARE):
                span = _cut(node, span, _tokens(room, _LARGEST_SHARE / 2))
            self._spans[room, node.key] = span
        return span


def surely_fitting(context: Context, size: int, room: int) -> list[Turn]:
    """The end of `context` that fits together with a turn of `size` bytes, even if each byte is a token."""
    whole = _Span(0, 0, TEMPLATE_TOKENS)
    return context.turns(_cut(context, whole, room - size, by_bytes=True).start)


def _cut(chat: Context, span: _Span, tokens: int, *, by_bytes: bool = False) -> _Span:
    """The end of `span` with at most `tokens`, estimated by its bytes or, if lower, by its mean tokens per byte."""
    # The template is in every prompt, however little of the chat is kept.
    template = min(TEMPLATE_TOKENS, span.tokens)
    mean = math.inf if by_bytes else _UNEVEN * (span.tokens - template) / max(1, span.size)
    size, kept = 0, _Span(chat.length, 0, TEMPLATE_TOKENS)
    for node in _from(chat, span.start):
        size += node.size
        estimate = int(min(TEMPLATE_TOKENS + size, template + size * mean))
        if estimate > tokens:
            break
        kept = _Span(node.length - 1, size, estimate)
    return kept


def _from(chat: Context, start: int) -> list[Context]:
    """The chat's turns from index `start` on, newest first, each as the chat up to that turn."""
    found = []
    for node in chat.newest_first():
        if node.length <= start:
            break
        found.append(node)
    return found


def _tokens(room: int, share: float) -> int:
    """Tokens of a prompt whose context takes `share` of the room."""
    return TEMPLATE_TOKENS + int(share * max(0, room - TEMPLATE_TOKENS))
