"""Decodes lists of character codes: decimal, hexadecimal, octal and binary numbers."""

import re
from collections.abc import Iterator

from moderation.readings.words import adds_words

_NUMBER = r"(?:0[xXbBoO]|[uU]\+|[cC]hr\(|CHR\()?[0-9A-Fa-f]{2,8}[hH)]?"
_NUMBERS = re.compile(rf"(?<![0-9A-Za-z.])(?:{_NUMBER}[\"'\s,;:+|/_-]{{1,4}}){{3,}}{_NUMBER}(?![0-9A-Za-z])")
_ONE_NUMBER = re.compile(r"(0[xXbBoO]|[uU]\+|[cCrRhH]{3}\(|)([0-9A-Fa-f]{2,8})")
_ALL_BITS = re.compile(r"(?<![0-9])[01]{24,}(?![0-9])")
_BASES = {"0x": 16, "u+": 16, "0b": 2, "0o": 8, "chr(": 10}
_BYTE = 0x100


def without_number_codes(text: str) -> str:
    """`text` with each list of numbers as the characters that they are codes of, if these are words."""
    return _ALL_BITS.sub(_without_bits, _NUMBERS.sub(_without_numbers, text))


def text_of(data: bytes) -> str:
    """`data` as UTF-8, or as UTF-16 if every second byte is zero. Raises ValueError if it is neither."""
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(data) > 3 and len(data) % 2 == 0 and not any(data[first::2]):
            return data.decode(encoding)
    return data.decode("utf-8")


def _without_numbers(run: re.Match[str]) -> str:
    return next((text for text in _readings_of(run[0]) if adds_words(text, run[0])), run[0])


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
