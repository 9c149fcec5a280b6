"""Growing text in, cleared text out: how much of an unfinished answer may be read already.

Pure state without clock or guard: `watch` asks it what to judge, and tells it what came back.
"""

import re
from collections import deque
from typing import Any, NamedTuple

# A window ends behind white space or punctuation, or behind a character of a script that is written without spaces:
# half a word tells a guard little, and a reader less.
_BORDER = re.compile(r"[\s.,;:!?)\]}\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uff00-\uff65]")
# A word longer than this is cut all the same.
_LONGEST_WORD = 60


class Piece(NamedTuple):
    """A part of an answer as the upstream sent it."""

    channel: str
    """Where the text belongs: content, reasoning, the arguments of one tool call."""
    text: str = ""
    payload: Any = None
    """What is given out in the text's place, undivided: usage, a finish reason, a part of a tool call."""
    whole: bool = False
    """Of use only together with the rest of the answer, as a tool call is: given out with the end."""


class HoldBack:
    """The pieces of one answer that wait for a verdict, in order. Offsets are characters of `text`."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Piece]] = deque()
        self._parts: list[str] = []
        self._channel: str | None = None
        self._tail = ""
        self.length = 0
        """Characters to judge so far."""
        self._cleared = 0

    @property
    def text(self) -> str:
        """All that arrived, as a guard should read it: a line break where the channel changes."""
        return "".join(self._parts)

    def feed(self, piece: Piece) -> None:
        """Take in what the upstream sent next."""
        if piece.text:
            if self._channel not in (None, piece.channel):
                self._add("\n")
            self._channel = piece.channel
        self._waiting.append((self.length, piece))
        self._add(piece.text)

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self._tail = (self._tail + text)[-_LONGEST_WORD:]
        self.length += len(text)

    def border(self) -> int:
        """Where a window may end: behind the last whole word, at most a long word before the end."""
        tail = self._tail[-(self.length - self._cleared) :] if self.length > self._cleared else ""
        borders = list(_BORDER.finditer(tail))
        if borders:
            return self.length - len(tail) + borders[-1].end()
        return self.length if len(tail) == _LONGEST_WORD else self._cleared

    def whole_words(self, upto: int) -> int:
        """The last offset up to `upto` where a word ends, as far as one can tell by now."""
        text = self.text
        while upto and not any(map(_BORDER.match, text[upto - 1 : upto + 1])):
            upto -= 1
        return upto

    def release(self, upto: int, *, end: bool = False) -> list[Piece]:
        """Give out everything before offset `upto`, which was judged safe; neighbours of one channel are joined.

        A piece without text goes out when all text before it has; one that is of use only in whole, and all behind it,
        at the end of the answer.
        """
        out: list[Piece] = []
        while self._waiting:
            start, piece = self._waiting[0]
            if piece.whole and not end:
                break
            if start + len(piece.text) <= upto:
                self._waiting.popleft()
            elif start < upto and piece.payload is None:
                self._waiting[0] = (upto, piece._replace(text=piece.text[upto - start :]))
                piece = piece._replace(text=piece.text[: upto - start])
            else:
                break
            if out and piece.payload is None and out[-1].payload is None and out[-1].channel == piece.channel:
                piece = piece._replace(text=out.pop().text + piece.text)
            out.append(piece)
        self._cleared = max(self._cleared, min(upto, self.length))
        return out
