"""Joins words of all scripts but plain Latin that were split by signs or emoji.

No list of their words is needed: signs within a word are rare in them.
"""

import re

from moderation.readings.unicode_tables import EMOJI_CHARS, MARK_CHARS
from moderation.readings.words import known_words

_HAN = "\u3040-\u30ff\u3400-\u9fff"
# Scripts without spaces, and Korean, where particles follow a word at once: signs of Markdown stand between letters.
_CLOSE_LETTERS = rf"{_HAN}\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\uac00-\ud7a3"
_EMOJI = rf"[{EMOJI_CHARS}\u200d\ufe0f\u20e3]"
_SIGN = rf"[{EMOJI_CHARS}\u200d\ufe0f\u20e3#*~^|+\u2022]"
# No raw text: in the Functions' files these are escapes.
_HAN_SIGNS = "，。、；：？！（）《》「」“”‘’…—"
# Text of a script without spaces, split into parts of one or two characters by the same separator.
_SPELLED_HAN = re.compile(
    rf"[{_HAN}]{{1,2}}(?:([^\w\n{_HAN_SIGNS},.;:?!()\[\]\"'/-]{{1,4}})[{_HAN}]{{1,2}}(?:\1[{_HAN}]{{1,2}})+(?![{_HAN}]))"
)
# Single letters with their marks, and letters that marks tie together, split by the same sign.
_MARKED_LETTER = rf"(?:[^\W\d_A-Za-z{_HAN}][{MARK_CHARS}]{{1,4}}){{0,2}}[^\W\d_A-Za-z{_HAN}][{MARK_CHARS}]{{0,4}}"
_SPELLED_MARKED = re.compile(
    rf"(?<![\w{MARK_CHARS}]){_MARKED_LETTER}(?:([^\w\s{MARK_CHARS}\u3001\uff0c\u3002,;:]{{1,3}}){_MARKED_LETTER}(?:\1{_MARKED_LETTER}){{2,}})"
    rf"(?![\w{MARK_CHARS}])"
)
_EMOJI_IN_WORD = re.compile(rf"{_EMOJI}(?<=[^\W\d_].|[{MARK_CHARS}].){_EMOJI}{{0,7}}(?=[^\W\d_])", re.DOTALL)
_LETTER_RUN = re.compile(r"[^\W\d_]*")
_LONGEST_LETTER_RUN = 20
_SPACED_LETTER = rf"[^\W\d_A-Za-z{_CLOSE_LETTERS}]"
# Not between two single letters, as in formulas.
_SIGNS_IN_WORD = re.compile(
    rf"{_SIGN}(?<={_SPACED_LETTER}.){_SIGN}{{0,7}}(?={_SPACED_LETTER}{{2}})"
    rf"|{_SIGN}(?<={_SPACED_LETTER}{{2}}.){_SIGN}{{0,7}}(?={_SPACED_LETTER})"
)


def join_split_scripts(text: str) -> str:
    """`text` with split words joined, but known ones of plain Latin letters; unchanged if there are none."""
    if text.isascii():
        return text
    text = _SPELLED_HAN.sub(lambda found: found[0].replace(found[1], ""), text)
    text = _SPELLED_MARKED.sub(lambda found: found[0].replace(found[1], ""), text)
    return _SIGNS_IN_WORD.sub("", _EMOJI_IN_WORD.sub(_without_emoji, text))


def _without_emoji(emoji: re.Match[str]) -> str:
    text, start, stop = emoji.string, emoji.start(), emoji.end()
    around = (
        text[max(0, start - _LONGEST_LETTER_RUN) : start][::-1],
        text[stop : stop + _LONGEST_LETTER_RUN],
    )
    before, after = ("".join(_LETTER_RUN.findall(piece)[:1]) for piece in around)
    pieces = [before[::-1], after]
    # Words next to emoji are common. Two pieces that are no words are one word that is split.
    split = not all(map(str.isascii, pieces)) or known_words().isdisjoint(piece.lower() for piece in pieces)
    return "" if split else emoji[0]
