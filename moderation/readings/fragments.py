"""Joins words that were split by spaces, signs, emoji or line breaks, if the result is a known word."""

import re
from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from moderation.readings.lookalikes import hidden_word
from moderation.readings.unicode_tables import MARK_CHARS
from moderation.readings.words import is_english, known_words

# A word spelled letter by letter, with up to eight other characters between the letters.
_SEPARATOR = rf"(?:[^\w{MARK_CHARS}]|_){{1,8}}"
_LETTER = r"[^\W_]"
_NO_LETTER = rf"(?![^\W_]|[{MARK_CHARS}])"
_SPELLED = re.compile(rf"(?<![^\W_])(?<![{MARK_CHARS}\\]){_LETTER}(?:{_SEPARATOR}{_LETTER}{_NO_LETTER}){{2,}}")
_SPELLED_PARTS = re.compile(rf"({_SEPARATOR})")
_LIST_SIGN = re.compile("[、，。；：,;:]")
_HAN_LETTER = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
# Korean syllables: words of one syllable are common.
_SYLLABLES = re.compile("[\uac00-\ud7a3]")
_HYPHENS = "‐‑"
_APOSTROPHES = "'’"
# A word or a piece of one, not next to an apostrophe.
_FRAGMENT = re.compile(rf"(?<![^\W_])(?<![{_APOSTROPHES}\\])[A-Za-z]{{1,14}}(?![^\W_]|[{_APOSTROPHES}])")
_LONGEST_SEPARATOR = 8
_LONGEST_WORD_LETTERS = 20
_MOST_FRAGMENTS = 6
# Punctuation of names, hyphenated words and lists: it seldom splits a word to hide it.
_PUNCTUATION = re.compile(rf"[-{_HYPHENS}.,/_:;&()\[\]{{}}\"'%=<>\\]\Z|(?!(.)\1*\Z)[!-/:-@\[-`{{-~]{{2,8}}\Z")
_SPACE = re.compile(r"[ \t]{1,2}\Z|[ \t]*\n[ \t]*\Z")
# Fewer letters are not cut into several known words, nor do fewer Korean syllables count as an unknown word.
_FEWEST_UNKNOWN = 6
# If the first fragment is a short word, the joined word needs at least this many letters: "a ttack", but not "a bed".
_FEWEST_AFTER_A_WORD = 6


class _Kind(IntEnum):
    """What separates two fragments."""

    SIGNS = 0
    """Signs that are rare within a word, and emoji."""
    SPACE = 1
    PUNCTUATION = 2


class _Join(NamedTuple):
    """Fragments that together make a word."""

    start: int
    stop: int
    kind: _Kind
    long: bool
    """Whether the word is long enough to count alone. Shorter words count only if the text has a long one too."""


def join_fragments(text: str) -> str:
    """`text` with split words joined; unchanged if there are none."""
    text = _SPELLED.sub(lambda found: _join_letters(found[0]), text)
    return _join_pieces(text)


def _join_letters(spelled: str) -> str:
    """Join letters that were spelled one by one. A separator other than the usual one ends a word."""
    letters = _SPELLED_PARTS.split(spelled)
    separators = letters[1::2]
    usual = Counter(separators).most_common(1)[0][0]
    if _LIST_SIGN.fullmatch(usual) and _HAN_LETTER.search(spelled):
        return spelled
    words, word = [], letters[0]
    for separator, letter in zip(separators, letters[2::2], strict=True):
        if separator != usual and (usual.isspace() or any(map(str.isspace, separator))):
            words.append(word)
            word = ""
        word += letter
    words.append(word)
    read = [_as_words(word, all_alike=len(set(separators)) == 1) for word in words]
    if not any(found and len(word) > 2 for word, found in zip(words, read, strict=True)):
        return spelled
    return " ".join(found or word for word, found in zip(words, read, strict=True))


def _as_words(letters: str, *, all_alike: bool) -> str | None:
    """The word or words in `letters`, which has no spaces; None if there are none."""
    if letters.lower() in known_words() and (len(letters) > 3 or all_alike):
        return letters
    if len(letters) > 3 and (found := hidden_word(letters)):
        return found
    if len(letters) > 4 and letters[0] in "aAiI" and letters[1:].lower() in known_words():
        return f"{letters[0]} {letters[1:]}"
    if not any(map(str.isascii, letters)) and len(letters) >= (_FEWEST_UNKNOWN if _SYLLABLES.match(letters) else 4):
        return letters
    return _cut_into_words(letters.lower()) if len(letters) >= _FEWEST_UNKNOWN else None


def _cut_into_words(letters: str) -> str | None:
    """`letters` cut into the fewest words. At most a quarter of the letters may belong to no word; else None."""
    known = known_words()
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, len(letters) + 1):
        cost, unknown, _ = best[end - 1]
        options = [(cost + 3, unknown + 1, end - 1)]
        for start in range(max(0, end - _LONGEST_WORD_LETTERS), end):
            if letters[start:end] in known:
                options.append((best[start][0] + 2, best[start][1], start))
        best.append(min(options))
    if best[-1][1] * 4 > len(letters):
        return None
    cuts, end = [], len(letters)
    while end:
        cuts.append(letters[best[end][2] : end])
        end = best[end][2]
    longest = max(map(len, cuts))
    return " ".join(reversed(cuts)) if longest >= 4 or 3 * len(cuts) <= len(letters) else None


def _join_pieces(text: str) -> str:
    """Join pieces that are no words by themselves, if together they make one.

    In code, and in languages of which we know too few words, unknown pieces between spaces or punctuation are normal.
    So joins over spaces or punctuation count only if the text is English, or if they use up most of the short unknown
    pieces.
    """
    found = list(_FRAGMENT.finditer(text))
    words = [fragment[0].lower() for fragment in found]
    known = known_words()
    unknown = [word not in known for word in words]
    joins: list[_Join] = []
    at = 0
    while at < len(found):
        join = _join_from(text, found, words, unknown, at) if unknown[at] or True in unknown[at + 1 : at + 2] else None
        joins += [join] if join else []
        at = join.stop if join else at + 1
    used = sum(join.stop - join.start for join in joins)
    short = sum(odd and len(word) <= 3 for word, odd in zip(words, unknown, strict=True))
    if not is_english(words) and 2 * (short - used) > used:
        joins = [join for join in joins if join.kind is _Kind.SIGNS]
    if not any(join.long for join in joins):
        return text
    parts, end = list[str](), 0
    for join in joins:
        parts += [text[end : found[join.start].start()], *(one[0] for one in found[join.start : join.stop])]
        end = found[join.stop - 1].end()
    return "".join([*parts, text[end:]])


def _join_from(
    text: str, found: Sequence[re.Match[str]], words: Sequence[str], unknown: Sequence[bool], first: int
) -> _Join | None:
    """The longest word made of fragments that begin with number `first`; None if there is none."""
    known = known_words()
    join, word, unknowns, kinds = None, words[first], int(unknown[first]), set[_Kind]()
    for at in range(first + 1, min(first + _MOST_FRAGMENTS, len(found))):
        kind = _kind_of(text[found[at - 1].end() : found[at].start()][: _LONGEST_SEPARATOR + 1])
        word += words[at]
        if kind is None or len(word) > _LONGEST_WORD_LETTERS:
            break
        kinds.add(kind)
        unknowns += unknown[at]
        count = at + 1 - first
        if word not in known or not unknowns or len(set(words[first : at + 1])) == 1:
            continue
        after_a_word = count == 2 and len(words[first]) <= 2 and len(word) >= _FEWEST_AFTER_A_WORD
        if _Kind.PUNCTUATION in kinds:
            fits = unknowns == count and len(word) > 3
        elif _Kind.SPACE in kinds:
            fits = unknowns == count or after_a_word
        else:
            fits = True
        if fits:
            join = _Join(first, at + 1, max(kinds), len(word) > (2 if kinds == {_Kind.SIGNS} else 3))
    return join


@lru_cache(256)
def _kind_of(separator: str) -> _Kind | None:
    if _SPACE.match(separator):
        return _Kind.SPACE
    if len(separator) > _LONGEST_SEPARATOR or any(char.isalnum() or char.isspace() for char in separator):
        return None
    return _Kind.PUNCTUATION if _PUNCTUATION.match(separator) else _Kind.SIGNS
