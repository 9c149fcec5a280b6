"""Decodes escapes and encodings that a chat model can read, if the result contains words."""

import base64
import binascii
import html
import re
from collections.abc import Callable

from moderation.readings.ciphers import without_ciphers
from moderation.readings.invisible import visible_text
from moderation.readings.number_codes import text_of, without_number_codes
from moderation.readings.words import adds_words

# Text that was encoded more than three times is rare, and each round costs as much as the first.
_DECODE_ROUNDS = 3

# The escapes of addresses and mails, of HTML, of programming languages, and of style sheets.
_ONE_ESCAPE = (
    r"(?:[%=](?:25){0,2}[0-9A-Fa-f]{2}|%[uU][0-9A-Fa-f]{4}"
    r"|&(?:amp;){0,2}(?:#\d{1,10};?|#[xX][0-9A-Fa-f]{1,10};?|[A-Za-z]{2,32};)"
    r"|\\{1,2}u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]{1,6}\}|\\U[0-9A-Fa-f]{8}|\\{1,2}x[0-9A-Fa-f]{2}|\\x\{[0-9A-Fa-f]{1,6}\}"
    r"|\\0{3,4}[0-9A-Fa-f]{2}|\\[01][0-7]{2}|\\0{0,4}[2-7][0-9A-Fa-f](?![0-9A-Fa-f]) ?"
    r"|\\N\{[A-Z -]{1,60}\}|[Uu]\+[0-9A-Fa-f]{4,6})"
)
_ESCAPED = re.compile(rf"(?<![A-Za-z])[A-Za-z]{{0,20}}(?:{_ONE_ESCAPE}[A-Za-z +,.?!'-]{{0,20}})+")
_BYTE_RUN = re.compile(r"(?:%[0-9A-Fa-f]{2})+|(?:=[0-9A-F]{2})+|(?:\\{1,2}x[0-9A-Fa-f]{2})+")
_HEX_ESCAPE = re.compile(
    r"(?:\\{1,2}u|%[uU]|[Uu]\+)([0-9A-Fa-f]{4})|\\[ux]\{([0-9A-Fa-f]{1,6})\}|\\U([0-9A-Fa-f]{8})"
    r"|[Uu]\+([0-9A-Fa-f]{5,6})|\\0{3,4}([0-9A-Fa-f]{2})"
)
_OCTAL_ESCAPE = re.compile(r"\\([01][0-7]{2})")
_STYLE_ESCAPE = re.compile(r"\\0{0,4}([2-7][0-9A-Fa-f])(?![0-9A-Fa-f]) ?")
_LETTER_NAME = re.compile(r"\\N\{LATIN (?:SMALL|CAPITAL) LETTER ([A-Z])\}|\\N\{SPACE()\}")
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Base64 in both alphabets: one word; several lines; groups of four characters.
_BASE64_WORD = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:(?:[A-Za-z0-9+/]{8,}\r?\n)+[A-Za-z0-9+/]{2,}|(?:[A-Za-z0-9+/]{4} ){3,}[A-Za-z0-9+/]{2,4}"
    r"|[A-Za-z0-9+/_-]{8,}|[A-Za-z0-9+/_-]{6,7}(?==))={0,2}"
)
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_BASE32_WORD = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z2-7]{16,}|[a-z2-7]{16,})={0,6}")
_HEX_WORD = re.compile(r"(?<![0-9A-Za-z])(?:0x)?(?:[0-9A-Fa-f]{2}){4,}")


def without_escapes(text: str) -> str:
    """`text` with each encoded part decoded if that makes it readable; unchanged if there is none."""
    for _ in range(_DECODE_ROUNDS):
        before = text
        if any(sign in text for sign in "%&\\+="):
            text = _ESCAPED.sub(_without_escapes, text)
        text = without_number_codes(text)
        text = _HEX_WORD.sub(_if_readable(_decode_hex), text)
        text = _BASE32_WORD.sub(_if_readable(_decode_base32), text)
        text = without_ciphers(_BASE64_WORD.sub(_without_base64, text))
        if text == before:
            break
    return text


def _without_escapes(found: re.Match[str]) -> str:
    text = found[0]
    for _ in range(_DECODE_ROUNDS):
        before = text
        text = _BYTE_RUN.sub(_decode_bytes, text)
        text = _HEX_ESCAPE.sub(lambda one: _character(next(filter(None, one.groups())), 16), html.unescape(text))
        text = _OCTAL_ESCAPE.sub(lambda one: _character(one[1], 8), text)
        text = _LETTER_NAME.sub(lambda one: one[1] or " ", _STYLE_ESCAPE.sub(lambda one: _character(one[1], 16), text))
        if text == before:
            break
    text = visible_text(_SURROGATES.sub(_one_character, text))
    # Between letters, characters that nobody sees split a word.
    around = (
        found.string[found.start() - 1 : found.start()].isalpha()
        and found.string[found.end() : found.end() + 1].isalpha()
    )
    return text if adds_words(text, found[0]) or (not text and around) else found[0]


def _decode_bytes(run: re.Match[str]) -> str:
    return bytes.fromhex(re.sub(r"[%=\\x]", "", run[0])).decode("utf-8", "replace")


def _character(code: str, base: int) -> str:
    number = int(code, base)
    return chr(number) if number < 0x110000 else "\ufffd"


def _one_character(surrogates: re.Match[str]) -> str:
    return surrogates[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _if_readable(decode: Callable[[str], bytes]) -> Callable[[re.Match[str]], str]:
    return lambda found: _decoded_text(decode, found[0]) or found[0]


def _decoded_text(decode: Callable[[str], bytes], encoded: str) -> str | None:
    """The words that `encoded` is; None if it is none. It may be encoded several times."""
    text = encoded
    for _ in range(_DECODE_ROUNDS):
        try:
            text = text_of(decode(text))
        except (ValueError, binascii.Error):
            break
        if adds_words(text, encoded):
            return text
    return None


def _without_base64(found: re.Match[str]) -> str:
    whole = _decoded_text(_decode_base64, found[0])
    if whole is None and re.search("[-_]", found[0]):
        # Perhaps these signs separate groups.
        whole = _decoded_text(_decode_base64, re.sub("[-_]", "", found[0]))
    if whole is None and "\n" in found[0]:
        # Perhaps only one of the lines is encoded.
        return _BASE64_LINE.sub(_if_readable(_decode_base64), found[0])
    return found[0] if whole is None else whole


def _decode_base64(text: str) -> bytes:
    text = re.sub(r"[\s=]", "", text).replace("-", "+").replace("_", "/")
    # A single letter after the last group of four is no data.
    text = text[:-1] if len(text) % 4 == 1 else text
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _decode_base32(text: str) -> bytes:
    text = text.rstrip("=").upper()
    return base64.b32decode(text + "=" * (-len(text) % 8))


def _decode_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
