"""A turn as the guard reads it: what its reader sees; and, if that was disguised, what it says without disguise.

Only the guard's copy of a turn is changed; the chat model and the page keep the text as it was written.
"""

import re
import unicodedata

from moderation.escapes import without_escapes
from moderation.fragments import joined
from moderation.invisible import seen
from moderation.lookalikes import plain_letters, without_marks
from moderation.unicode_tables import FAR_MARK_CHARS, MARK_CHARS

# Qwen3's control tokens look like <|im_end|>; its other added tokens are the think and tool tags; Qwen3Guard's
# template frames the conversation by <BEGIN …> and <END …> (chat_template of Qwen/Qwen3Guard-Gen-0.6B).
_MARKER = re.compile(r"<(?=\s{0,4}(?:\||/?\s{0,4}(?:think|tool_call|tool_response|BEGIN|END)\b))", re.IGNORECASE)
# The same template writes turns as "USER:" and "ASSISTANT:", and the reply's lines are Safety, Categories, Refusal.
_SPEAKER = re.compile(
    r"^([^\w\n]*(?:USER|ASSISTANT|SYSTEM|Safety|Categories|Refusal)\s*):", re.IGNORECASE | re.MULTILINE
)
# Normalisation sorts the marks on one letter in quadratic time (Python 3.11); no script puts so many on one.
_ONE_MARK = f"[{MARK_CHARS}]"
_HEAPED_MARKS = re.compile(f"({_ONE_MARK}{{8}}){_ONE_MARK}+")
_FAR = re.compile("[\U00010000-\U0001efff]")
_FAR_MARK = f"[{MARK_CHARS}{FAR_MARK_CHARS}]"
_HEAPED_FAR_MARKS = re.compile(f"({_FAR_MARK}{{8}}){_FAR_MARK}+")
# Long texts are read in blocks of about so many characters, so that other threads get their turn in between.
_BLOCK = 5_000
_WHITE = re.compile(r"\s")
# Eighteen characters, if normalised: a phrase that is often said, and no letter.
_LONGEST_LIGATURE = "\ufdfa"


def neutralise(text: str) -> str:
    """One turn's text for the guard, of any length, template markers broken and invisible characters resolved."""
    return _without_markers(_normal(text))


def readings(text: str) -> tuple[str, str | None]:
    """The two readings of one turn's text, of any length.

    Returns:
        What its reader sees, as `neutralise` gives it; and the same with all disguises undone, None if there are none.
    """
    normal = _normal(text)
    bare = normal if text.isascii() else _normal(text, bare=True)
    plain = "".join(map(_undone, _blocks(bare)))
    return _without_markers(normal), None if plain == normal else _without_markers(plain)


def _normal(text: str, *, bare: bool = False) -> str:
    """`text` as it is seen, in Unicode's form KC; `bare` of marks that hide words."""
    parts = [_with_few_marks(seen(block)) for block in _blocks(text)]
    return "".join(_compatible(without_marks(part) if bare else part) for part in parts)


def _compatible(text: str) -> str:
    if text.isascii():
        return text
    return _LONGEST_LIGATURE.join(unicodedata.normalize("NFKC", part) for part in text.split(_LONGEST_LIGATURE))


def _with_few_marks(text: str) -> str:
    """`text` without what is too much of marks on one letter."""
    if text.isascii():
        return text
    return (_HEAPED_FAR_MARKS if _FAR.search(text) else _HEAPED_MARKS).sub(r"\1", text)


def _undone(text: str) -> str:
    clear = without_escapes(text)
    return joined(plain_letters(clear if clear == text else _normal(clear)))


def _blocks(text: str) -> list[str]:
    """`text` in parts that each take milliseconds, so that other threads have their turn in between."""
    blocks, start = [], 0
    while len(text) - start > 2 * _BLOCK:
        end = text.find("\n", start + _BLOCK, start + 2 * _BLOCK) + 1
        if not end:
            white = _WHITE.search(text, start + _BLOCK, start + 2 * _BLOCK)
            end = white.end() if white else start + 2 * _BLOCK
        blocks.append(text[start:end])
        start = end
    return [*blocks, text[start:]]


def _without_markers(text: str) -> str:
    return _SPEAKER.sub(r"\1 -", _MARKER.sub("< ", text)).strip()
