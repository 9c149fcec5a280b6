"""Decodes lists of character codes: decimal, hexadecimal, octal and binary numbers."""

import re
from collections.abc import Iterator

from moderation.readings.words import adds_words, known_words

_NUMBER = r"(?:0[xXbBoO]|[uU]\+|[cC]hr\(|CHR\()?[0-9A-Fa-f]{2,8}[hH)]?"
_NUMBERS = re.compile(rf"(?<![0-9A-Za-z.])(?:{_NUMBER}[\"'\s,;:+|/_-]{{1,4}}){{3,}}{_NUMBER}(?![0-9A-Za-z])")
_ONE_NUMBER = re.compile(r"(0[xXbBoO]|[uU]\+|[cCrRhH]{3}\(|)([0-9A-Fa-f]{2,8})")
_ALL_BITS = re.compile(r"(?<![0-9])[01]{24,}(?![0-9])")
# Decimal codes of three digits each. Places in the alphabet, with hyphens within a word.
_ALL_DECIMALS = re.compile(r"(?<![0-9])(?:[01][0-9]{2}){4,}(?![0-9])")
_PLACES = re.compile(r"(?<![\w.-])[0-9]{1,2}(?:-[0-9]{1,2}){3,}(?![\w-])")
_BASES = {"0x": 16, "u+": 16, "0b": 2, "0o": 8, "chr(": 10}
_BYTE = 0x100


def without_number_codes(text: str) -> str:
    """`text` with each list of numbers as the characters that they are codes of, if these are words."""
    text = _ALL_BITS.sub(_without_bits, _NUMBERS.sub(_without_numbers, text))
    return _PLACES.sub(_without_places, _ALL_DECIMALS.sub(_without_decimals, text))


def text_of(data: bytes) -> str:
    """`data` as UTF-8, or as UTF-16 if every second byte is zero. Raises ValueError if it is neither."""
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(data) > 3 and len(data) % 2 == 0 and not any(data[first::2]):
            return data.decode(encoding)
    return data.decode("utf-8")


def _without_numbers(run: re.Match[str]) -> str:
    starts = [number.start() for number in _ONE_NUMBER.finditer(run[0])]
    # A word before the list may look like a number.
    for start in starts[:2]:
        for text in _readings_of(run[0][start:]):
            if adds_words(text, run[0]):
                return run[0][:start] + text
    return run[0]


def _readings_of(run: str) -> Iterator[str]:
    """What the numbers may say. Only numbers that are marked as codes are characters beyond a byte."""
    found = _ONE_NUMBER.findall(run)
    mark = found[0][0].lower()
    digits = [number for _, number in found]
    bits = all(len(number) >= 7 and set(number) <= {"0", "1"} for number in digits)
    for base in (_BASES[mark],) if mark else (2,) if bits else (10, 16, 8):
        try:
            codes = [int(number, base) for number in digits]
            if max(codes) < _BYTE:
                yield text_of(bytes(codes))
            elif mark:
                yield "".join(map(chr, codes))
        except (ValueError, OverflowError):
            continue


def _without_bits(run: re.Match[str]) -> str:
    for width in (8, 7):
        if len(run[0]) % width == 0:
            data = bytes(int(run[0][at : at + width], 2) for at in range(0, len(run[0]), width))
            try:
                text = text_of(data)
            except ValueError:
                continue
            if adds_words(text):
                return text
    return run[0]


def _without_decimals(run: re.Match[str]) -> str:
    text = "".join(chr(int(run[0][at : at + 3])) for at in range(0, len(run[0]), 3))
    return text if text.isascii() and adds_words(text) else run[0]


def _without_places(run: re.Match[str]) -> str:
    places = [int(place) for place in run[0].split("-")]
    word = "".join(chr(ord("a") + place - 1) for place in places) if 0 < min(places) <= max(places) <= 26 else ""
    return word if word in known_words() else run[0]
