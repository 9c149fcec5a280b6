"""The two readings of a turn: what its reader sees; and, if that is obfuscated, the text with the obfuscation undone.

Only the guard's copy of a turn is changed. The chat model and the page keep the text as it was written.
"""

import re
import unicodedata
from functools import lru_cache

from moderation.readings.blocks import blocks_of, joined, line_blocks_of
from moderation.readings.escapes import without_escapes
from moderation.readings.fancy_fonts import plain_fonts
from moderation.readings.fragments import join_fragments
from moderation.readings.invisible import in_display_order, visible_text
from moderation.readings.jamo import composed_jamo
from moderation.readings.lookalikes import plain_letters, without_marks
from moderation.readings.markup import without_tags_in_words
from moderation.readings.split_scripts import join_split_scripts
from moderation.readings.unicode_tables import FAR_MARK_CHARS, MARK_CHARS

# Qwen3's control tokens look like <|im_end|>; its other added tokens are the think and tool tags; Qwen3Guard's
# template puts the conversation between <BEGIN …> and <END …> (chat_template of Qwen/Qwen3Guard-Gen-0.6B).
_MARKER = re.compile(r"<(?=\s{0,4}(?:\||/?\s{0,4}(?:think|tool_call|tool_response|BEGIN|END)\b))", re.IGNORECASE)
# The same template marks turns with "USER:" and "ASSISTANT:"; the lines of a reply are Safety, Categories, Refusal.
# Signs and digits around such a word do not change how a model reads it, and there are several colons.
_SPEAKER = re.compile(r"(?:USER|ASSISTANT|SYSTEM|Safety|Categories|Refusal)[\s*_~`\"')\]}>]{0,99}", re.IGNORECASE)
_COLONS = ":\u2236\ua789\u02d0\u0589\u05c3"
_FIRST_LETTER = re.compile(r"[^\W\d_]")
# Normalisation sorts the marks of one letter in quadratic time (Python 3.11). No script has more than eight on one.
_ONE_MARK = f"[{MARK_CHARS}]"
_HEAPED_MARKS = re.compile(f"({_ONE_MARK}{{8}}){_ONE_MARK}+")
_FAR = re.compile("[\U00010000-\U0001efff]")
_FAR_MARK = f"[{MARK_CHARS}{FAR_MARK_CHARS}]"
_HEAPED_FAR_MARKS = re.compile(f"({_FAR_MARK}{{8}}){_FAR_MARK}+")
# The signs before a word may be many: so many are searched at once.
_STEP = 10_000
# An answer that grows is read again and again, but nothing changes in the blocks before its last one. The cache takes
# some ten megabytes at most.
_BLOCKS_KEPT = 512
# Left as they are: a ligature (a common Arabic phrase) that becomes eighteen characters if normalised, and single
# Korean letters, which become others.
_NOT_NORMALISED = re.compile("([\ufdfa\u3131-\u318e]+)")


def neutralise(text: str) -> str:
    """One turn's text as the guard reads it: template markers broken, invisible characters resolved. Of any length."""
    return _without_markers(_normal(text))


def readings(text: str) -> tuple[str, str | None]:
    """The two readings of one turn's text, of any length.

    Returns:
        What its reader sees, as `neutralise` returns it; and the same with all obfuscation undone, None if there is
        none.
    """
    normal = _normal(text)
    bare = normal if text.isascii() else _normal(text, bare=True)
    *finished, last = blocks_of(bare)
    plain = joined([*map(_undone_once, finished), _undone(last)], _undone_once)
    return _without_markers(normal), None if plain == normal else _without_markers(plain)


def _normal(text: str, *, bare: bool = False) -> str:
    """`text` as it is seen, in Unicode's form NFKC. With `bare`, without marks that hide words."""
    blocks = map(in_display_order, blocks_of(text)) if bare else blocks_of(text)
    parts = [_with_few_marks(visible_text(block)) for block in blocks]
    return "".join(_compatible(without_marks(part) if bare else part) for part in parts)


def _compatible(text: str) -> str:
    if text.isascii():
        return text
    parts = _NOT_NORMALISED.split(text)
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    return "".join(parts)


def _with_few_marks(text: str) -> str:
    """`text` with at most eight marks on one letter."""
    if text.isascii():
        return text
    return (_HEAPED_FAR_MARKS if _FAR.search(text) else _HEAPED_MARKS).sub(r"\1", text)


@lru_cache(_BLOCKS_KEPT)
def _undone_once(block: str) -> str:
    return _undone(block)


def _undone(text: str) -> str:
    clear = without_escapes(text)
    clear = without_tags_in_words(clear if clear == text else _normal(clear, bare=True))
    return composed_jamo(join_split_scripts(join_fragments(plain_letters(plain_fonts(clear)))))


def _without_markers(text: str) -> str:
    parts, end, at = [], 0, text.find("<")
    while at >= 0:
        if _MARKER.match(text, at):
            parts += [text[end:at], "< "]
            end = at + 1
        at = text.find("<", at + 1)
    clear = "".join([*parts, text[end:]])
    return "".join(map(_without_speakers, line_blocks_of(clear))).strip()


def _without_speakers(lines: str) -> str:
    return "\n".join(map(_without_speaker, lines.split("\n"))) if any(colon in lines for colon in _COLONS) else lines


def _without_speaker(line: str) -> str:
    starts = range(0, len(line), _STEP)
    first = next(filter(None, (_FIRST_LETTER.search(line, start, start + _STEP) for start in starts)), None)
    speaker = _SPEAKER.match(line, first.start()) if first else None
    if not speaker or line[speaker.end() : speaker.end() + 1] not in tuple(_COLONS):
        return line
    return f"{line[: speaker.end()]} -{line[speaker.end() + 1 :]}"
