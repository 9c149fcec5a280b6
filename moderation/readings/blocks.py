"""Cuts a long text into blocks that take milliseconds each, so that other threads can run in between."""

import re
from collections.abc import Callable, Iterable, Iterator

# Characters of a block: this many, or up to twice as many if there is no better place to cut.
_BLOCK = 5_000
# Around a cut, so many characters of both blocks are read once more, together.
_SEAM = 300
# Between two plain words, nothing is disguised.
_PLAIN_PLACE = re.compile(r"(?<=[a-z]{3})[.,!?]?\s(?=[A-Za-z][a-z]{2})")
_WHITE = re.compile(r"\s")
_CODE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# The lengths of all usual codes of a character or a byte divide this: 2, 3, 4, 6, 7, 8, 16.
_CODE_LENGTH = 336


def blocks_of(text: str) -> list[str]:
    """`text` in blocks: cut after a plain word, a line or a word if there is one, else so that no code is cut."""
    blocks, start = [], 0
    while len(text) - start > 2 * _BLOCK:
        least, most = start + _BLOCK, start + 2 * _BLOCK
        place = _PLAIN_PLACE.search(text, least, most)
        end = place.end() if place else text.find("\n", least, most) + 1
        if not end:
            white = _WHITE.search(text, least, most)
            end = white.end() if white else start + _uncut_codes(text[start:most])
        blocks.append(text[start:end])
        start = end
    return [*blocks, text[start:]]


def line_blocks_of(text: str) -> Iterator[str]:
    """`text` in blocks of whole lines, for patterns that match at the start of a line. No line is cut."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _BLOCK) + 1 or len(text)
        yield text[start:end]
        start = end


def joined(blocks: Iterable[str], read: Callable[[str], str]) -> str:
    """`blocks`, each of which was read, as one text. What was split by a cut is read at the seams."""
    parts = [""]
    for block in blocks:
        before, after = parts.pop(), block
        if before:
            cut = max(0, len(before) - _SEAM)
            tail = _WHITE.search(before, cut)
            cut = tail.end() if tail else cut
            head = _WHITE.search(block, _SEAM)
            stop = head.start() if head and head.start() < 2 * _SEAM else _SEAM
            parts += [before[:cut], read(before[cut:] + block[:stop])]
            after = block[stop:]
        parts.append(after)
    return "".join(parts)


def _uncut_codes(text: str) -> int:
    """Where to cut `text`, which has no white space, so that neither part begins or ends within a code."""
    alphabet = _CODE_CHARS if text[-1] in _CODE_CHARS else "".join(set(text[-_CODE_LENGTH // 4 :]))
    begin = len(text.rstrip(alphabet))
    whole = (len(text) - begin) // _CODE_LENGTH * _CODE_LENGTH
    # A code that is not in a long run begins with a sign.
    return begin + whole if whole else max(begin - 1, len(text) // 2)
