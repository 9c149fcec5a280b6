"""Growing text in, cleared text out: how much of an unfinished answer may be read already.

Pure state without clock or guard: `watch` asks it what to judge, and tells it what came back.
"""

import re
from collections import deque

from moderation.channels import Channels, Piece, Reading

# A window ends after white space or punctuation, or after a character of a script that is written without spaces:
# half a word tells a guard little, and a reader less.
_BORDER = re.compile(r"[\s.,;:!?)\]}\u0e00-\u0e7f\u3000-\u30ff\u3400-\u9fff\uff00-\uff65]")
# A word longer than this is cut all the same.
_LONGEST_WORD = 60


class HoldBack:
    """The pieces of one answer that wait for a verdict.

    Args:
        pictures: whether pictures inside a text may be given out.
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
        """All that arrived, as a guard should read it."""
        return self._channels.reading().text

    @property
    def media(self) -> list[str]:
        """Kinds of pictures and sound inside the texts."""
        return self._channels.media

    def feed(self, piece: Piece) -> None:
        """Take in what the upstream sent next."""
        if piece.channel is not None:
            self._channels.append(piece.channel, piece.text, is_label=piece.is_label)
        else:
            self._payloads.append((self.arrived, piece))

    def finished_words(self) -> int:
        """Characters that arrived, without the word that is still being written, at most a long word."""
        return self.arrived - self._unfinished()

    def reading(self, *, words: bool) -> Reading:
        """What to judge now: everything, or with `words` without the word that is still being written."""
        return self._channels.reading(self._unfinished() if words else 0)

    def _unfinished(self) -> int:
        tail = self._channels.newest_tail()[-_LONGEST_WORD:]
        borders = list(_BORDER.finditer(tail))
        if borders:
            return len(tail) - borders[-1].end()
        return 0 if len(tail) == _LONGEST_WORD else len(tail)

    def release(self, reading: Reading, cleared: int, *, words: bool = False, end: bool = False) -> list[Piece]:
        """Give out what was judged safe: one piece for each channel, and payloads with no text left before them.

        Args:
            reading: what was judged.
            cleared: so many characters of it may be read.
            words: whether no word is given out in part.
            end: whether the answer is complete, and all of it cleared.
        """
        out: list[Piece] = []
        upto = {
            channel: min(end_of, _cleared_of(reading.text, span.start, span.length, cleared, words=words))
            for span in reading.spans
            for channel, end_of in span.channels
        }
        for channel, text in self._channels.items(labels=end):
            readable = text.readable_length if end else upto.get(channel, 0)
            if channel.given_out and (given := text.take(readable) if readable else ""):
                out.append(Piece(channel, given))
        passed = reading.arrived if cleared >= len(reading.text) and not words else 0
        while self._payloads and (end or self._payloads[0][0] <= passed):
            out.append(self._payloads.popleft()[1])
        return out

    def release_all(self) -> list[Piece]:
        """Give out everything, judged or not."""
        out = [
            Piece(channel, given)
            for channel, text in self._channels.items(labels=True)
            if channel.given_out and (given := text.take(text.readable_length))
        ]
        out += [piece for _, piece in self._payloads]
        self._payloads.clear()
        return out


def _cleared_of(text: str, start: int, length: int, cleared: int, *, words: bool) -> int:
    """Characters of one span that may be read."""
    upto = min(start + length, cleared)
    # The first window may end within a word, as may what is cleared of any; no word is shown in part.
    while words and upto > start and not any(map(_BORDER.match, text[upto - 1 : upto + 1])):
        upto -= 1
    return max(0, upto - start)
