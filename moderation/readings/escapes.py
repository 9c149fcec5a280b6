"""Decodes escapes and encodings that a chat model can read, if the result contains words."""

import base64
import binascii
import codecs
import html
import re
import string
from collections.abc import Callable

from moderation.readings.words import adds_words, known_words

# Text that was encoded more than three times is rare, and each round costs as much as the first.
_DECODE_ROUNDS = 3

_ONE_ESCAPE = (
    r"(?:%[0-9A-Fa-f]{2}|&#\d{1,7};?|&#[xX][0-9A-Fa-f]{1,6};?|&[A-Za-z]{2,8};"
    r"|\\u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]{1,6}\}|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}|\\[01][0-7]{2}|[Uu]\+[0-9A-Fa-f]{4,5})"
)
_ESCAPED = re.compile(rf"(?<![A-Za-z])[A-Za-z]{{0,20}}(?:{_ONE_ESCAPE}[A-Za-z +,.?!'-]{{0,20}})+")
_PERCENT_RUN = re.compile("(?:%[0-9A-Fa-f]{2})+")
_BACKSLASH = re.compile(r"\\u([0-9A-Fa-f]{4})|\\u\{([0-9A-Fa-f]{1,6})\}|\\U([0-9A-Fa-f]{8})|[Uu]\+([0-9A-Fa-f]{4,5})")
_BYTE_RUN = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+")
_OCTAL = re.compile(r"\\([01][0-7]{2})")
_FEWEST_ROT13_WORDS = 3
_ROT13 = {ord(letter): codecs.encode(letter, "rot13") for letter in string.ascii_letters}
# Base64 in both alphabets: one word; several lines; groups of four characters.
_BASE64_WORD = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:(?:[A-Za-z0-9+/]{20,}\r?\n)+[A-Za-z0-9+/]{2,}|(?:[A-Za-z0-9+/]{4} ){3,}[A-Za-z0-9+/]{2,4}"
    r"|[A-Za-z0-9+/_-]{8,}|[A-Za-z0-9+/_-]{6,7}(?==))={0,2}"
)
_BASE32_WORD = re.compile(r"(?<![A-Z0-9])[A-Z2-7]{16,}={0,6}")
_HEX_CODES = re.compile(r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{2}(?:[ ,:-]{0,2}(?:0x)?[0-9A-Fa-f]{2}){3,}")
_DECIMAL_CODES = re.compile(r"(?<![0-9A-Za-z.,])\d{2,3}(?:[ ,]{1,2}\d{2,3}){3,}")
_BINARY_CODES = re.compile(r"(?<![0-9])[01]{7,8}(?: ?[01]{8}| [01]{7}){2,}")
_LATIN_WORD = re.compile(r"(?<![^\W_])(?<!\\)[A-Za-z]+(?![^\W_])")


def without_escapes(text: str) -> str:
    """`text` with each encoded part decoded if that makes it readable; unchanged if there is none."""
    for _ in range(_DECODE_ROUNDS):
        before = text
        if "%" in text or "&" in text or "\\" in text or "+" in text:
            text = _ESCAPED.sub(_without_escapes, text)
        for pattern, decode in _CODES:
            text = pattern.sub(_if_readable(decode), text)
        text = _without_rot13(text)
        if text == before:
            break
    return text


def _without_escapes(found: re.Match[str]) -> str:
    text = _BYTE_RUN.sub(_decode_bytes, _PERCENT_RUN.sub(_decode_bytes, found[0]))
    text = _BACKSLASH.sub(lambda one: _character(next(filter(None, one.groups())), 16), html.unescape(text))
    text = _OCTAL.sub(lambda one: _character(one[1], 8), text)
    return text if adds_words(text, found[0]) else found[0]


def _decode_bytes(run: re.Match[str]) -> str:
    return bytes.fromhex(re.sub(r"%|\\x", "", run[0])).decode("utf-8", "replace")


def _character(code: str, base: int) -> str:
    number = int(code, base)
    return chr(number) if number < 0x110000 else "\ufffd"


def _if_readable(decode: Callable[[str], bytes]) -> Callable[[re.Match[str]], str]:
    def replaced(found: re.Match[str]) -> str:
        text = found[0]
        for _ in range(_DECODE_ROUNDS):
            try:
                text = decode(text).decode("utf-8")
            except (ValueError, binascii.Error):
                break
            if adds_words(text, found[0]):
                return text
        return found[0]

    return replaced


def _decode_base64(text: str) -> bytes:
    text = re.sub(r"[\s=]", "", text).replace("-", "+").replace("_", "/")
    # A single letter after the last group of four is no data.
    text = text[:-1] if len(text) % 4 == 1 else text
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _decode_base32(text: str) -> bytes:
    text = text.rstrip("=")
    return base64.b32decode(text + "=" * (-len(text) % 8))


def _decode_hex(text: str) -> bytes:
    return bytes.fromhex(re.sub("0x|[ ,:-]", "", text))


def _decode_decimals(text: str) -> bytes:
    return bytes(map(int, re.findall(r"\d+", text)))


def _decode_bits(text: str) -> bytes:
    bits = re.findall("[01]{7,8}", text) if " " in text else re.findall("[01]{8}", text)
    return bytes(int(byte, 2) for byte in bits)


_CODES: tuple[tuple[re.Pattern[str], Callable[[str], bytes]], ...] = (
    (_BINARY_CODES, _decode_bits),
    (_DECIMAL_CODES, _decode_decimals),
    (_HEX_CODES, _decode_hex),
    (_BASE32_WORD, _decode_base32),
    (_BASE64_WORD, _decode_base64),
)


def _without_rot13(text: str) -> str:
    """`text` with rot13 undone in each stretch of unknown words most of which become known words."""
    found = list(_LATIN_WORD.finditer(text))
    known = known_words()
    words = [word[0].lower() for word in found]
    unknown = {word for word in words if word not in known}
    decoded = {word for word in unknown if word.translate(_ROT13) in known}
    if len(decoded) < _FEWEST_ROT13_WORDS:
        return text
    parts, end, stretch = [], 0, list[int]()
    for at, word in enumerate([*words, ""]):
        if word in unknown or len(word) == 1 or (word and word.translate(_ROT13) in known):
            stretch.append(at)
            continue
        while stretch and words[stretch[-1]] not in decoded:
            stretch.pop()
        while stretch and words[stretch[0]] not in decoded and len(words[stretch[0]]) > 1:
            del stretch[0]
        if _is_rot13([words[at] for at in stretch], decoded):
            start, stop = found[stretch[0]].start(), found[stretch[-1]].end()
            parts += [text[end:start], text[start:stop].translate(_ROT13)]
            end = stop
        stretch = []
    return "".join([*parts, text[end:]])


def _is_rot13(words: list[str], decoded: set[str]) -> bool:
    """Whether most of `words` become known words, and enough of them are too long for that to be chance."""
    different = decoded.intersection(words)
    counted = [word for word in words if len(word) > 1]
    return (
        len(different) >= _FEWEST_ROT13_WORDS
        and sum(len(word) > 3 for word in different) >= 2
        and 3 * sum(word in decoded for word in counted) >= 2 * len(counted)
    )
