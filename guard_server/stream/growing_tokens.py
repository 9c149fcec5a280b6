"""Tokenises a growing text, and says which tokens can still change.

The text is cut into segments at places that depend on the text only, and each segment is tokenised by itself. So the
tokens do not depend on the pieces in which the text arrived. Only the last segment can grow, and only its last tokens
can change.
"""

import unicodedata
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

MARGIN = 16
"""Tokens at the growing end that are held until more text arrives. A merge of byte-level BPE can change earlier tokens;
a change further back than this is detected, and the tokens are judged again."""

LONGEST = 1024
"""Characters of a segment without a place to cut, such as a very long run of letters. It is cut nevertheless: else all
of it would be tokenised again for each new character."""


class Token(NamedTuple):
    """One token and its text: characters (code points) from `start` to `end`. Neighbours may share a character."""

    id: int
    start: int
    end: int


Encode = Callable[[Sequence[str]], list[list[Token]]]
"""The tokens of each text as plain text, without control tokens. Offsets count from the text's start."""


class GrowingTokens:
    """The tokens of one text that arrives piece by piece."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._open = ""
        self._open_start = 0
        self._open_token = 0
        self.length = 0
        """Characters so far."""
        self.settled: list[Token] = []
        """Tokens that more text does not change."""
        self.settled_upto = 0
        """Index of the first character of the first token that is not settled."""

    def feed(self, text: str, *, end: bool = False) -> int:
        """Add more text; `end` settles all of it.

        Returns:
            How many of the tokens settled before are unchanged: all, except after a merge that reaches back very far.
        """
        self.length += len(text)
        segments = _segments(self._open + text, len(self._open))
        starts = [self._open_start]
        for segment in segments[:-1]:
            starts.append(starts[-1] + len(segment))
        encoded = [
            [Token(token.id, start + token.start, start + token.end) for token in tokens]
            for start, tokens in zip(starts, self._encode(segments), strict=True)
        ]
        tokens = list(chain.from_iterable(encoded))
        certain = len(tokens) - (0 if end else min(MARGIN, len(encoded[-1])))

        old = self.settled[self._open_token :]
        pairs = zip(old, tokens[:certain], strict=False)
        same = next((at for at, (was, now) in enumerate(pairs) if was != now), min(len(old), certain))
        kept = self._open_token + same
        self.settled[kept:] = tokens[same:certain]
        self.settled_upto = tokens[certain].start if certain < len(tokens) else self.length

        self._open, self._open_start = segments[-1], starts[-1]
        self._open_token += len(tokens) - len(encoded[-1])
        return kept


def _segments(text: str, scanned: int) -> list[str]:
    """`text` cut at all places where a segment ends for certain; none ends before the character `scanned`."""
    cuts = [0]
    for at in range(max(1, scanned), len(text)):
        if _ends(text[at - 1], text[at], at - cuts[-1]):
            cuts.append(at)
    return [text[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _ends(last: str, following: str, length: int) -> bool:
    """Whether a segment of `length` characters ends between these two.

    The pre-tokenizers of GPT-2's family, Qwen's among them, cut between a letter or digit and a character of another
    kind, independent of the other text. There is no cut where Unicode may compose two characters into one (before
    marks and the inner jamo of Hangul), nor before format characters, which may split a word invisibly.
    """
    if unicodedata.category(following) in ("Mn", "Mc", "Me", "Cf") or "\u1160" <= following <= "\u11ff":
        return length >= 2 * LONGEST
    return (last.isalnum() and not following.isalnum()) or length >= LONGEST
