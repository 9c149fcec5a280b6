"""The two readings of a turn: what its reader sees; and, if that is obfuscated, the text with the obfuscation undone.

Only the guard's copy of a turn is changed. The chat model and the page keep the text as it was written.
"""

import re
import unicodedata
from functools import lru_cache

from moderation.readings.blocks import blocks_of, joined, line_blocks_of
from moderation.readings.escapes import without_escapes
from moderation.readings.fancy_fonts import plain_fonts
from moderation.readings.finished_blocks import FinishedBlocks
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
# An answer that grows is read again and again; what is around its cuts is short.
_SEAMS_KEPT = 512
# Left as they are: a ligature (a common Arabic phrase) that becomes eighteen characters if normalised, and single
# Korean letters, which become others.
_NOT_NORMALISED = re.compile("([\ufdfa\u3131-\u318e]+)")


def neutralise(text: str, finished: FinishedBlocks | None = None) -> str:
    """One turn's text as the guard reads it: template markers broken, invisible characters resolved. Of any length."""
    finished = finished or FinishedBlocks()
    return _without_markers("".join(finished.each(_seen, blocks_of(text))), finished)


def readings(text: str, finished: FinishedBlocks | None = None) -> tuple[str, str | None]:
    """The two readings of one turn's text, of any length.

    Args:
        text: of the turn.
        finished: of the same turn, if it grows and is read more than once.

    Returns:
        What its reader sees, as `neutralise` returns it; and the same with all obfuscation undone, None if there is
        none.
    """
    finished = finished or FinishedBlocks()
    normal, bare = map("".join, zip(*finished.each(_seen_and_bare, blocks_of(text)), strict=True))
    plain = joined(finished.each(_undone, blocks_of(bare)), _undone_seam)
    return _without_markers(normal, finished), None if plain == normal else _without_markers(plain, finished)


def _seen(block: str) -> str:
    """`block` as it is seen, in Unicode's form NFKC."""
    return _seen_and_bare(block)[0]


def _seen_and_bare(block: str) -> tuple[str, str]:
    """`block` as it is seen, in Unicode's form NFKC; and as a page orders it, without marks that hide words."""
    shown = _with_few_marks(visible_text(block))
    ordered = in_display_order(block)
    bare = without_marks(shown if ordered == block else _with_few_marks(visible_text(ordered)))
    seen = _compatible(shown)
    return seen, seen if bare == shown else _compatible(bare)


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


@lru_cache(_SEAMS_KEPT)
def _undone_seam(seam: str) -> str:
    return _undone(seam)


def _undone(block: str) -> str:
    clear = without_escapes(block)
    clear = clear if clear == block else "".join(_seen_and_bare(part)[1] for part in blocks_of(clear))
    joined_words = join_fragments(plain_letters(plain_fonts(without_tags_in_words(clear))))
    return composed_jamo(join_split_scripts(joined_words))


def _without_markers(text: str, finished: FinishedBlocks) -> str:
    parts, end, at = [], 0, text.find("<")
    while at >= 0:
        if _MARKER.match(text, at):
            parts += [text[end:at], "< "]
            end = at + 1
        at = text.find("<", at + 1)
    clear = "".join([*parts, text[end:]])
    return "".join(finished.each(_without_speakers, list(line_blocks_of(clear)))).strip()


def _without_speakers(lines: str) -> str:
    return "\n".join(map(_without_speaker, lines.split("\n"))) if any(colon in lines for colon in _COLONS) else lines


def _without_speaker(line: str) -> str:
    starts = range(0, len(line), _STEP)
    first = next(filter(None, (_FIRST_LETTER.search(line, start, start + _STEP) for start in starts)), None)
    speaker = _SPEAKER.match(line, first.start()) if first else None
    if not speaker or line[speaker.end() : speaker.end() + 1] not in tuple(_COLONS):
        return line
    return f"{line[: speaker.end()]} -{line[speaker.end() + 1 :]}"
