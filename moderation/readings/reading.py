"""The two readings of a turn: what its reader sees; and, if that is obfuscated, the text with the obfuscation undone.

Only the guard's copy of a turn is changed. The chat model and the page keep the text as it was written.
"""

import re
import unicodedata
from collections.abc import Iterator

from moderation.readings.escapes import without_escapes
from moderation.readings.finished_blocks import FinishedBlocks
from moderation.readings.fragments import join_fragments
from moderation.readings.invisible import visible_text
from moderation.readings.lookalikes import plain_letters, without_marks
from moderation.readings.unicode_tables import FAR_MARK_CHARS, MARK_CHARS

# Qwen3's control tokens look like <|im_end|>; its other added tokens are the think and tool tags; Qwen3Guard's
# template puts the conversation between <BEGIN …> and <END …> (chat_template of Qwen/Qwen3Guard-Gen-0.6B).
_MARKER = re.compile(r"<(?=\s{0,4}(?:\||/?\s{0,4}(?:think|tool_call|tool_response|BEGIN|END)\b))", re.IGNORECASE)
# The same template marks turns with "USER:" and "ASSISTANT:"; the lines of a reply are Safety, Categories, Refusal.
_SPEAKER = re.compile(
    r"^([^\w\n]*+(?:USER|ASSISTANT|SYSTEM|Safety|Categories|Refusal)\s*):", re.IGNORECASE | re.MULTILINE
)
# Normalisation sorts the marks of one letter in quadratic time (Python 3.11). No script has more than eight on one.
_ONE_MARK = f"[{MARK_CHARS}]"
_HEAPED_MARKS = re.compile(f"({_ONE_MARK}{{8}}){_ONE_MARK}+")
_FAR = re.compile("[\U00010000-\U0001efff]")
_FAR_MARK = f"[{MARK_CHARS}{FAR_MARK_CHARS}]"
_HEAPED_FAR_MARKS = re.compile(f"({_FAR_MARK}{{8}}){_FAR_MARK}+")
# Long texts are read in blocks of about this many characters, so that other threads can run in between.
_BLOCK = 5_000
_WHITE = re.compile(r"\s")
# This ligature (a common Arabic phrase) becomes eighteen characters if normalised, so it is left as it is.
_LONGEST_LIGATURE = "\ufdfa"


def neutralise(text: str, finished: FinishedBlocks | None = None) -> str:
    """One turn's text as the guard reads it: template markers broken, invisible characters resolved. Of any length."""
    finished = finished or FinishedBlocks()
    return _without_markers("".join(finished.each(_seen, _blocks(text))), finished)


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
    normal, bare = map("".join, zip(*finished.each(_seen_and_bare, _blocks(text)), strict=True))
    plain = "".join(finished.each(_undone, _blocks(bare)))
    return _without_markers(normal, finished), None if plain == normal else _without_markers(plain, finished)


def _seen(block: str) -> str:
    """`block` as it is seen, in Unicode's form NFKC."""
    return _seen_and_bare(block)[0]


def _seen_and_bare(block: str) -> tuple[str, str]:
    """`block` as it is seen, in Unicode's form NFKC; and the same without marks that hide words."""
    shown = _with_few_marks(visible_text(block))
    bare = shown if shown.isascii() else without_marks(shown)
    seen = _compatible(shown)
    return seen, seen if bare == shown else _compatible(bare)


def _compatible(text: str) -> str:
    if text.isascii():
        return text
    return _LONGEST_LIGATURE.join(unicodedata.normalize("NFKC", part) for part in text.split(_LONGEST_LIGATURE))


def _with_few_marks(text: str) -> str:
    """`text` with at most eight marks on one letter."""
    if text.isascii():
        return text
    return (_HEAPED_FAR_MARKS if _FAR.search(text) else _HEAPED_MARKS).sub(r"\1", text)


def _undone(block: str) -> str:
    clear = without_escapes(block)
    return join_fragments(plain_letters(clear if clear == block else "".join(map(_seen, _blocks(clear)))))


def _blocks(text: str) -> list[str]:
    """`text` in blocks that take milliseconds each, so that other threads can run in between."""
    blocks, start = [], 0
    while len(text) - start > 2 * _BLOCK:
        end = text.find("\n", start + _BLOCK, start + 2 * _BLOCK) + 1
        if not end:
            white = _WHITE.search(text, start + _BLOCK, start + 2 * _BLOCK)
            end = white.end() if white else start + 2 * _BLOCK
        blocks.append(text[start:end])
        start = end
    return [*blocks, text[start:]]


def _without_markers(text: str, finished: FinishedBlocks) -> str:
    parts, end, at = [], 0, text.find("<")
    while at >= 0:
        if _MARKER.match(text, at):
            parts += [text[end:at], "< "]
            end = at + 1
        at = text.find("<", at + 1)
    clear = "".join([*parts, text[end:]])
    return "".join(finished.each(_without_speakers, list(_line_blocks(clear)))).strip()


def _without_speakers(lines: str) -> str:
    if lines.find("\n", 0, -1) >= 0:
        return _SPEAKER.sub(r"\1 -", lines)
    # A single line, perhaps a very long one: only its beginning can match, so the rest is not searched.
    speaker = _SPEAKER.match(lines)
    return f"{speaker[1]} -{lines[speaker.end() :]}" if speaker else lines


def _line_blocks(text: str) -> Iterator[str]:
    """`text` in blocks of whole lines, for patterns that match at the start of a line. No line is cut."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _BLOCK) + 1 or len(text)
        yield text[start:end]
        start = end
