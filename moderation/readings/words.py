"""The known words. If undoing an obfuscation gives one of them, the text was obfuscated."""

import base64
import re
import zlib
from collections.abc import Sequence
from functools import cache

from moderation.readings.common_words import COMMON_WORDS

# Nearly every combination of up to three letters is a token of Qwen's, so short words are listed here.
_SHORT_WORDS = (
    "a i am an as at be by do go he hi if in is it me my no of ok on or so to up us we act add ads age ago aid "
    "aim air all and any app are arm art ask ass ate bad bag ban bar bat bed beg bet big bit box boy bra bug bus "
    "but buy can cap car cat com con cop cow cry cum cup cut dad day den did die dig dog dry due ear eat egg ego "
    "end etc eye fan far fat fed fee few fit fix flu fly for fox fun gap gas gay gem get gif god got gun guy gym "
    "had ham has hat her hey him hip his hit hop hot how hug ice ill ink its jar jaw jew job joy key kid kit kys "
    "lab law lay led leg let lie lip log lot low lsd mad man map may men met min mix mom mum net new nor not now "
    "nut odd off oil old one our out own par pay pdf pet pie pig pop pot ppl pro put ran rap rat raw ray red rid "
    "rip rob row rub run sad sat saw say sea see set sex she shy sin sir sit six ski sky son spy sub sue sum sun "
    "tap tax tea ten the tie tip toe ton too top toy try two ups use van via vip war was wax way web wet who why "
    "win won yes yet you zip"
)


@cache
def known_words() -> frozenset[str]:
    """All known words, in lower case: common words of languages in Latin script, mostly English."""
    text = zlib.decompress(base64.b64decode(COMMON_WORDS)).decode()
    words, before = _SHORT_WORDS.split(), ""
    for same, rest in re.findall(r"(\d)([a-z]*)", text):
        before = before[: int(same)] + rest
        words.append(before)
    return frozenset(words)


# Of the shortest words only those that do not occur in other languages.
_ENGLISH = frozenset(
    re.findall(
        "[a-z]+",
        "the and of to is you how what for with make this that are can it my your from have do does was were not they "
        "who why i",
    )
)
_ENGLISH_SHARE = 0.15


def is_english(words: Sequence[str]) -> bool:
    """Whether `words` (lower case) have as many common English words as an English text has."""
    return sum(word in _ENGLISH for word in words) >= max(2, _ENGLISH_SHARE * len(words))


def adds_words(text: str, instead_of: str = "") -> bool:
    """Whether decoded `text` is printable, and has a known word or non-Latin letters that `instead_of` lacks."""
    if not text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable():
        return False
    said = set(re.findall("[a-z]{3,}", instead_of.lower()))
    if not known_words().isdisjoint(set(re.findall("[a-z]{3,}", text.lower())) - said):
        return True
    return len(re.findall(r"[^\W\d_\x00-\x7f]", text)) > len(re.findall(r"[^\W\d_\x00-\x7f]", instead_of)) + 2
