"""Text that is encoded in invisible characters: as bytes, as bits, or as ASCII that is shifted to another place."""

import re
from collections.abc import Iterator

from moderation.readings.words import adds_words

SHORTEST_BITS = 16
# Bits of one character in the usual encodings.
_BIT_WIDTHS = (8, 7, 16)
# Private use and unassigned planes, and variation selectors: no text has a run of them.
_SHIFTED = re.compile("[\ue000-\uf8ff\U00040000-\U000dffff\U000e0100-\U000e01ef\U000f0000-\U0010ffff]{3,}")


def from_selectors(selectors: str) -> list[tuple[str, int]]:
    """Text encoded in variation selectors, and the place of each character.

    A selector is a byte; or half a byte if only the first sixteen are used.
    """
    codes = [ord(char) for char in selectors]
    values = [code - 0xFE00 if code < 0xE0000 else code - 0xE0100 + 16 for code in codes]
    step = 1
    if max(values) < 16:
        values, step = [high * 16 + low for high, low in zip(values[::2], values[1::2], strict=False)], 2
    hidden, place = [], 0
    for char in bytes(values).decode("utf-8", "ignore"):
        if char.isprintable():
            hidden.append((char, min(place, len(codes) - 1)))
        place += step * len(char.encode())
    return hidden


def from_bits(run: str) -> str:
    """Text encoded as bits in a run of two different characters, perhaps with a separator; "" if it is none."""
    if len(set(run[1::2])) == 1 and len(set(run)) > 2:
        # The same character after each bit.
        run = run[::2]
    signs = sorted(set(run))
    for separator in [None] if len(signs) == 2 else signs if len(signs) == 3 else []:
        groups = run.split(separator) if separator else [run]
        zero, one = (sign for sign in signs if sign != separator)
        for bits in ({ord(zero): "0", ord(one): "1"}, {ord(zero): "1", ord(one): "0"}):
            for text in _bits_as_texts([group.translate(bits) for group in groups if group]):
                if text.isascii() and adds_words(text):
                    return text
    return ""


def _bits_as_texts(groups: list[str]) -> Iterator[str]:
    """The text that bits are, in each usual encoding."""
    if len(groups) > 1 and max(map(len, groups)) <= max(_BIT_WIDTHS):
        yield "".join(chr(int(group, 2)) for group in groups)
    bits = "".join(groups)
    for width in _BIT_WIDTHS:
        ends = range(width, len(bits) + 1, width)
        yield "".join(chr(int(bits[end - width : end], 2)) for end in ends)


def with_shifted_ascii(text: str) -> str:
    """`text` with runs of characters of other planes as the ASCII that their lowest bytes are, if that is words."""
    return text if text.isascii() else _SHIFTED.sub(_unshifted, text)


def _unshifted(run: re.Match[str]) -> str:
    if min(run[0]) >= "\U000e0100" and max(run[0]) <= "\U000e01ef":
        usual = "".join(char for char, _ in from_selectors(run[0]))
        if adds_words(usual):
            return run[0]
    text = "".join(chr(ord(char) & 0xFF) for char in run[0])
    return text if text.isascii() and adds_words(text) else run[0]
