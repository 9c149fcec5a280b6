"""Holds back the text of an unfinished answer until it is cleared.

Pure state, without clock or guard: `watch` asks it what to judge, and reports the result to it.
"""

import re
from collections import deque

from moderation.answer.channels import Channels, Piece, Reading

# Text is cut after white space or punctuation, or after a character of a script without spaces: half a word helps
# neither the guard nor the reader.
_BORDER = re.compile(r"[\s.,;:!?)\]}\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uff00-\uff65]")
# Longer words are cut.
_LONGEST_WORD = 60


class HoldBack:
    """The pieces of one answer that wait for a verdict.

    Args:
        pictures: whether pictures inside a text may be emitted.
    """

    def __init__(self, *, pictures: bool = True) -> None:
        self._channels = Channels(pictures=pictures)
        self._payloads: deque[tuple[int, Piece]] = deque()

    @property
    def arrived(self) -> int:
        """Characters that arrived."""
        return self._channels.arrived

    @property
    def text(self) -> str:
        """All text that arrived, as the guard reads it."""
        return self._channels.reading().text

    @property
    def media(self) -> list[str]:
        """Kinds of pictures and sound inside the texts."""
        return list(self._channels.media)

    def feed(self, piece: Piece) -> None:
        """Add the next piece from the upstream."""
        if piece.channel is not None:
            self._channels.append(piece.channel, piece.text, is_label=piece.is_label)
        else:
            self._payloads.append((self.arrived, piece))

    def finished_words(self) -> int:
        """Characters that arrived, without an unfinished word at the end (of at most 60 characters)."""
        return self.arrived - self._unfinished()

    def reading(self, *, words: bool) -> Reading:
        """What to judge now: everything; with `words`, without an unfinished word at the end."""
        return self._channels.reading(self._unfinished() if words else 0)

    def _unfinished(self) -> int:
        tail = self._channels.newest_tail()[-_LONGEST_WORD:]
        borders = list(_BORDER.finditer(tail))
        if borders:
            return len(tail) - borders[-1].end()
        return 0 if len(tail) == _LONGEST_WORD else len(tail)

    def release(self, reading: Reading, cleared: int, *, words: bool = False, end: bool = False) -> list[Piece]:
        """Release the cleared text: one piece per channel, and each payload whose preceding text is all released.

        Args:
            reading: what was judged.
            cleared: number of its leading characters that are cleared.
            words: whether to release whole words only.
            end: whether the answer is complete, and all of it is cleared.
        """
        out: list[Piece] = []
        upto = {
            channel: min(end_of, _cleared_of(reading.text, span.start, span.length, cleared, words=words))
            for span in reading.spans
            for channel, end_of in span.channels
        }
        for channel, text in self._channels.items(labels=end):
            readable = text.readable_length if end else upto.get(channel, 0)
            if channel.released and (given := text.take(readable) if readable else ""):
                out.append(Piece(channel, given))
        passed = reading.arrived if cleared >= len(reading.text) and not words else 0
        while self._payloads and (end or self._payloads[0][0] <= passed):
            out.append(self._payloads.popleft()[1])
        return out

    def release_all(self) -> list[Piece]:
        """Release everything, judged or not."""
        out = [
            Piece(channel, given)
            for channel, text in self._channels.items(labels=True)
            if channel.released and (given := text.take(text.readable_length))
        ]
        out += [piece for _, piece in self._payloads]
        self._payloads.clear()
        return out


def _cleared_of(text: str, start: int, length: int, cleared: int, *, words: bool) -> int:
    """Number of characters of one span that may be released."""
    upto = min(start + length, cleared)
    if not words or upto <= start:
        return max(0, upto - start)
    # The first reading, and the cleared part of any, may end within a word. Step back to the end of a whole word.
    earliest = max(start, upto - _LONGEST_WORD)
    whole = next(
        (at for at in range(upto, earliest, -1) if any(map(_BORDER.match, text[at - 1 : at + 1]))),
        start if earliest == start else upto,
    )
    return whole - start
