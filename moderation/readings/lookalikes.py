"""Replaces look-alikes by plain letters: other alphabets, fancy fonts, leetspeak, letters drawn with signs, marks."""

import re
from collections.abc import Iterator
from functools import lru_cache

from moderation.readings.unicode_tables import (
    ALPHABETS,
    CAPITAL_LOOKALIKES,
    FLAG_REGIONS,
    LOOKALIKE_CHARS,
    LOOKALIKES,
    MARK_CHARS,
)
from moderation.readings.words import known_words

_LOOKS = {ord(char): letter for char, letter in zip(LOOKALIKES[::2], LOOKALIKES[1::2], strict=True)}
_CAPITAL_LOOKS = _LOOKS | {
    ord(char): letter for char, letter in zip(CAPITAL_LOOKALIKES[::2], CAPITAL_LOOKALIKES[1::2], strict=True)
}
_LOOK = re.compile(f"[{LOOKALIKE_CHARS}]")
# Here and below, a single character class with a single repetition: an ambiguous pattern backtracks for too long.
_LOOKING_WORD = re.compile(rf"[\w{LOOKALIKE_CHARS}]+")
_OTHER_ALPHABET = re.compile(f"[{ALPHABETS}]")
# Letters of those alphabets that do not look like a Latin one. A text with such a letter is really in that alphabet.
_MEANT_ALPHABET = re.compile(rf"[\u0370-\u052f\u0531-\u0587\u05d0-\u05ea\u13a0-\u13ff](?<![{LOOKALIKE_CHARS}])")
_FLAG_LETTERS = re.compile("[\U0001f1e6-\U0001f1ff]+")
_REGIONS = frozenset(map("".join, zip(FLAG_REGIONS[::2], FLAG_REGIONS[1::2], strict=True)))
# The least share of letters in a word of leetspeak. It does not apply in a text with at least three such words.
_LEAST_LETTERS = 0.33
_FEWEST_LEET_WORDS = 3
# The end of an answer that grows is read again and again, with the same words.
_WORDS_KEPT, _LONGEST_KEPT = 4096, 32
_NUMERONYM = re.compile("[A-Za-z][0-9]{2,}[A-Za-z]")
_NUMBERED = re.compile("[A-Za-z]+[0-9]")
_LONGEST_DISGUISED = 60
_CYRILLIC_LOOKS = {code: letter for code, letter in (_CAPITAL_LOOKS | _LOOKS).items() if 0x400 <= code < 0x530}
_CYRILLIC = re.compile("[\u0400-\u052f]")

# Two mappings of digits and signs to letters, since some of them mean either of two letters.
_LEET_KEYS = "0123456789@$!|€£"
_LEET = (str.maketrans(_LEET_KEYS, "oizeasgtbgasiiel"), str.maketrans(_LEET_KEYS, "olzeasbtbgasllel"))
_LEET_SIGNS = re.escape(_LEET_KEYS)
_LEET_WORD = re.compile(
    rf"(?<![^\W_])(?<![{_LEET_SIGNS}])[A-Za-z]{{0,20}}[{_LEET_SIGNS}][A-Za-z{_LEET_SIGNS}]{{0,20}}(?![^\W_])"
)
_DRAWN = {
    "|\\/|": "m", "/\\/\\": "m", "\\/\\/": "w", "|-|": "h", "]-[": "h", "}{": "h", ")-(": "h", "|\\|": "n",
    "/\\": "a", "|_|": "u", "(_)": "u", "|)": "d", "[)": "d", "|<": "k", "|{": "k", "|3": "b", "|=": "f",
    "|*": "p", "><": "x", "\\/": "v", "()": "o", "[]": "o", "¥": "y", "|_": "l",
}  # fmt: skip
# Empty brackets at the end of a word are a function call.
_DRAWN_LETTER = re.compile(
    "|".join(
        re.escape(sign) + (r"(?=\w)" if sign in ("()", "[]") else "") for sign in sorted(_DRAWN, key=len, reverse=True)
    )
)
_DRAWN_WORD = re.compile(r"(?<!\S)\S{2,60}(?!\S)")
_SENTENCE_SIGNS = ".,;:!?'\")"

_MARK = f"[{MARK_CHARS}]"
_LETTERS = "A-Za-zÀ-ɏͰ-ԯ"
_MARKED_WORD = re.compile(rf"(?<![{_LETTERS}{MARK_CHARS}])[{_LETTERS}]++[{MARK_CHARS}][{_LETTERS}{MARK_CHARS}]*")
_MARKS = re.compile(_MARK + "+")
# Marks through or around a letter; no language uses them.
_OVERLAY = re.compile("[\u0332-\u0338\u0305\u033f\u20d0-\u20ff\u0489]")


def letters_of(word: str) -> Iterator[str]:
    """`word` in lower-case plain letters, in each possible reading."""
    yield word.lower()
    for looks in (_LOOKS, _CAPITAL_LOOKS):
        # Before and after lower-casing: of some letters only the capital looks like a Latin one, of others only the
        # small one.
        plain = word.translate(looks).lower().translate(looks)
        yield plain
        for leet in _LEET:
            yield plain.translate(leet)


def hidden_word(word: str, shortest: int = 3) -> str | None:
    """The known word, of at least `shortest` letters, that `word` hides; None if none, or if `word` is itself known."""
    return _hidden_word(word, shortest) if len(word) <= _LONGEST_KEPT else _hidden_word.__wrapped__(word, shortest)


@lru_cache(_WORDS_KEPT)
def _hidden_word(word: str, shortest: int) -> str | None:
    known = known_words()
    if word.lower() in known:
        return None
    return next((plain for plain in letters_of(word) if plain in known and len(plain) >= shortest), None)


def without_marks(text: str) -> str:
    """`text` (not yet normalised) without marks that hide words: strike-through, many marks, marks on a known word."""
    return _MARKED_WORD.sub(_without_marks, text)


def _without_marks(word: re.Match[str]) -> str:
    marks = len("".join(_MARKS.findall(word[0])))
    plain = _MARKS.sub("", word[0])
    if _OVERLAY.search(word[0]) or 2 * marks > len(plain) > 1 or plain.lower() in known_words():
        return plain
    return word[0]


def plain_letters(text: str) -> str:
    """`text` with words in look-alikes, in leetspeak or in letters drawn with signs replaced by plain letters."""
    if not text.isascii() and _LOOK.search(text):
        alphabet_meant = _MEANT_ALPHABET.search(text) is not None
        looked_at = _LOOKING_WORD.sub(lambda word: _plain_lookalikes(word, alphabet_meant), text)
        # If there are such words, the short words in look-alikes are treated alike.
        text = text if looked_at == text or alphabet_meant else looked_at.translate(_CYRILLIC_LOOKS)
    text = _plain_leetspeak(text)
    if any(sign in text for sign in ("|", "/\\", "\\/", "¥", "()", "[]")):
        text = _DRAWN_WORD.sub(lambda word: _plain_drawing(word[0]), text)
    return text


def _plain_lookalikes(found: re.Match[str], alphabet_meant: bool) -> str:
    word = found[0]
    if word.isascii() or len(word) > _LONGEST_DISGUISED or not _LOOK.search(word):
        return word
    if word[0] in "nrtv" and found.string[found.start() - 1 : found.start()] == "\\":
        return word
    if _is_flags(word):
        return word
    others = len(_OTHER_ALPHABET.findall(word))
    if others == len(word) and alphabet_meant:
        return word
    if hidden := hidden_word(word):
        return hidden
    plain = word.translate(_CAPITAL_LOOKS).lower().translate(_CAPITAL_LOOKS)
    if not plain.isascii() or len(word) < 3:
        return word
    # A word in a fancy font or with Cyrillic among Latin letters need not be a known word. One with other letters must
    # be: Greek letters are common in formulas.
    mixed = 0 < others < len(word) and len(_CYRILLIC.findall(word)) == others
    return plain if mixed or others == 0 else word


def _is_flags(word: str) -> bool:
    """Whether all regional indicator letters in `word` form flags."""
    letters = "".join(word.translate(_LOOKS) for word in _FLAG_LETTERS.findall(word)).upper()
    return bool(letters) and all(letters[at : at + 2] in _REGIONS for at in range(0, len(letters), 2))


def _plain_leetspeak(text: str) -> str:
    found: list[str] = []

    def plain(word: re.Match[str]) -> str:
        hidden = _plain_leet_word(word[0])
        found.extend([hidden] if hidden != word[0] else [])
        return hidden

    leet = _LEET_WORD.sub(plain, text)
    if not found:
        return text
    # In a text with several such words, words of two letters and words with few letters count too.
    least = 0.0 if len(found) >= _FEWEST_LEET_WORDS else _LEAST_LETTERS
    return _LEET_WORD.sub(lambda word: _plain_leet_word(word[0], 2, least), leet)


def _plain_leet_word(word: str, shortest: int = 3, least: float = _LEAST_LETTERS) -> str:
    """The plain word, if enough of `word` are letters. A sign at its end is no letter, nor is the digit in "word5"."""
    letters = sum(map(str.isalpha, word))
    if not word[-1].isalnum() or letters < least * len(word) or (least and word[0].isdigit() and len(word) < 4):
        return word
    if shortest > 2 and _NUMBERED.fullmatch(word):
        return word
    if (len(word) <= 3 and not re.search("[0-9@$]", word)) or _NUMERONYM.fullmatch(word):
        return word
    return hidden_word(word, shortest) or word


def _plain_drawing(word: str) -> str:
    if not _DRAWN_LETTER.search(word):
        return word
    at = len(word.rstrip(_SENTENCE_SIGNS))
    plain = _DRAWN_LETTER.sub(lambda sign: _DRAWN[sign[0]], word[:at])
    found = hidden_word(plain) or (plain.lower() if plain.lower() in known_words() and len(plain) > 2 else None)
    return found + word[at:] if found else word
