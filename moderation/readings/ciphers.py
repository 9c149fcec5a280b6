"""Undoes ciphers that a chat model can read: shifted and mirrored alphabets, words written backwards, Morse code."""

import re
from collections.abc import Callable, Collection
from functools import partial
from string import ascii_lowercase

from moderation.readings.words import adds_words, known_words

_LATIN_WORD = re.compile(r"(?<![^\W_])(?<!\\)[A-Za-z]+(?![^\W_])")
# So many different words must become known words, and so many of them must be longer than three letters.
_FEWEST_WORDS = 3
_FEWEST_LONG_WORDS = 2
# The shift of the alphabet shows in so many unknown words.
_SHIFT_SAMPLE = 40

_MORSE_OF = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
)
_MORSE = dict(zip(_MORSE_OF.split(), ascii_lowercase + "0123456789", strict=True))
_DOTS_AND_DASHES = str.maketrans("·•‧∙–—−‐‑_", "....------")
_MORSE_SIGN = "[.·•‧∙\\-–—−‐‑_]{1,5}"
_MORSE_RUN = re.compile(
    rf"(?<!\S){_MORSE_SIGN}(?:(?:[ \t]{{1,8}}|[ \t]{{0,2}}[/|\n][ \t]{{0,2}}){_MORSE_SIGN}){{2,}}(?!\S)"
)


def _shifted(by: int) -> dict[int, int]:
    small = ascii_lowercase[by:] + ascii_lowercase[:by]
    return str.maketrans(ascii_lowercase + ascii_lowercase.upper(), small + small.upper())


_SHIFTS = [_shifted(by) for by in range(1, 26)]
_MIRRORED = str.maketrans(
    ascii_lowercase + ascii_lowercase.upper(), ascii_lowercase[::-1] + ascii_lowercase[::-1].upper()
)


def without_ciphers(text: str) -> str:
    """`text` with each stretch of unknown words decoded if most of its words become known words."""
    text = _MORSE_RUN.sub(_without_morse, text)
    unknown = {word[0].lower() for word in _LATIN_WORD.finditer(text)} - known_words()
    if len(unknown) < _FEWEST_WORDS:
        return text
    sample = [word for word in unknown if len(word) > 3][:_SHIFT_SAMPLE]
    for letters in (*_SHIFTS, _MIRRORED):
        if sum(word.translate(letters) in known_words() for word in sample) >= _FEWEST_LONG_WORDS:
            text = _decoded(text, partial(_by_letters, letters=letters))
    return _decoded(text, _backwards)


def _decoded(text: str, decode: Callable[[str], str]) -> str:
    found = list(_LATIN_WORD.finditer(text))
    known = known_words()
    words = [word[0].lower() for word in found]
    read = {word: decode(word) for word in set(words)}
    unknown = {word for word in read if word not in known}
    decoded = {word for word in unknown if read[word] in known}
    if len(decoded) < _FEWEST_WORDS:
        return text
    parts, end, stretch = [], 0, list[int]()
    for at, word in enumerate([*words, ""]):
        if word in unknown or len(word) == 1 or (word and read[word] in known):
            stretch.append(at)
            continue
        while stretch and words[stretch[-1]] not in decoded:
            stretch.pop()
        while stretch and words[stretch[0]] not in decoded and len(words[stretch[0]]) > 1:
            del stretch[0]
        if _is_encoded([words[at] for at in stretch], decoded):
            start, stop = found[stretch[0]].start(), found[stretch[-1]].end()
            parts += [text[end:start], decode(text[start:stop])]
            end = stop
        stretch = []
    return "".join([*parts, text[end:]])


def _is_encoded(words: list[str], decoded: Collection[str]) -> bool:
    """Whether most of `words` become known words, and enough of them are too long for that to be chance."""
    different = set(decoded).intersection(words)
    counted = [word for word in words if len(word) > 1]
    return (
        len(different) >= _FEWEST_WORDS
        and sum(len(word) > 3 for word in different) >= _FEWEST_LONG_WORDS
        and 3 * sum(word in decoded for word in counted) >= 2 * len(counted)
    )


def _by_letters(text: str, letters: dict[int, int]) -> str:
    return text.translate(letters)


def _backwards(text: str) -> str:
    """`text` from its end to its start; word by word if its first word ends with a capital letter."""
    first = text.split(maxsplit=1)[0]
    if first[-1:].isupper() and first[:1].islower():
        return _LATIN_WORD.sub(lambda word: word[0][::-1], text)
    return text[::-1]


def _without_morse(run: re.Match[str]) -> str:
    words = re.split(r"[ \t]*[/|\n][ \t]*|[ \t]{2,}", run[0].translate(_DOTS_AND_DASHES))
    text = " ".join("".join(_MORSE.get(sign, "?") for sign in word.split()) for word in words)
    return text if adds_words(text) else run[0]
