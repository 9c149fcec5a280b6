"""Removes invisible characters, except those that are part of an emoji, and shows text that is hidden in them."""

import re

from moderation.readings.unicode_tables import EMOJI_CHARS, UNSEEN_CHARS

_UNSEEN_RUN = re.compile(f"[{UNSEEN_CHARS}]+")
# Characters that carry no hidden text and are part of no emoji; and runs that are long enough to carry text as bits.
_MEANINGLESS_RUN = re.compile(
    f"(?:[{UNSEEN_CHARS}](?<![\u200d\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef]))+"
)
_BITS = re.compile(f"[{UNSEEN_CHARS}]{{16,}}")
_OTHER_BREAK = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_EMOJI_CHAR = re.compile(f"[{EMOJI_CHARS}]")
_JOINER, _KEYCAP, _EMOJI_STYLE, _BLACK_FLAG = "\u200d", "\u20e3", "\ufe0f", "\U0001f3f4"
# England, Scotland, Wales: the only flags written with tag characters.
_TAG_FLAGS = frozenset(
    "".join(chr(0xE0000 + ord(char)) for char in f"{name}\x7f") for name in ("gbeng", "gbsct", "gbwls")
)
_SELECTOR_RUN = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
# Fewer different hidden letters than this, one by one between visible ones, only split a word and are no message.
_FEWEST_LETTERS = 3


def visible(text: str) -> tuple[str, list[int]]:
    """`text` as its reader sees it, and the index in `text` of each character of the result.

    For text that still grows: the result for a longer text begins with the result for a shorter one.
    """
    if not (_UNSEEN_RUN.search(text) or _OTHER_BREAK.search(text)):
        return text, list(range(len(text)))
    chars: list[str] = []
    places: list[int] = []
    end = 0
    for run in _UNSEEN_RUN.finditer(text):
        chars += text[end : run.start()]
        places += range(end, run.start())
        kept, hidden = _resolved(text, run)
        chars += kept
        places += range(run.start(), run.start() + len(kept))
        if len(hidden) > 1:
            chars += [char for char, _ in hidden]
            places += [run.start() + place for _, place in hidden]
        end = run.end()
    chars += text[end:]
    places += range(end, len(text))
    # CR LF is one line break.
    left = [at for at, char in enumerate(chars) if char != "\r" or chars[at + 1 : at + 2] != ["\n"]]
    return "".join("\n" if _OTHER_BREAK.match(chars[at]) else chars[at] for at in left), [places[at] for at in left]


def visible_text(text: str) -> str:
    """A complete `text` as its reader sees it, with all line breaks as LF.

    Text hidden in a run of tags or variation selectors is shown at its place. Hidden letters one by one between visible
    ones, and a run within a word, are shown at the end of the text, so that the visible word stays readable.
    """
    aside: list[str] = []

    def shown(run: re.Match[str]) -> str:
        text = run.string
        kept, hidden = _resolved(text, run)
        words = "".join(char for char, _ in hidden)
        around = text[run.start() - 1 : run.start()].isalnum() and text[run.end() : run.end() + 1].isalnum()
        if len(words) == 1 or (words and around):
            aside.append(words)
            return kept
        return kept + words

    if _UNSEEN_RUN.search(text):
        text = _MEANINGLESS_RUN.sub("", _BITS.sub(lambda run: _from_bits(run[0]) or run[0], text))
        text = _UNSEEN_RUN.sub(shown, text)
        if len(set("".join(aside).lower())) >= _FEWEST_LETTERS:
            text += "\n" + "".join(aside)
    # This breaks lines as _OTHER_BREAK does, in a tenth of the time.
    return "\n".join(f"{text}.".splitlines())[:-1]


def _resolved(text: str, run: re.Match[str]) -> tuple[str, list[tuple[str, int]]]:
    """The part of a run that is kept, and the text hidden in the rest: characters and their indexes in the run."""
    chars = run[0]
    kept = _emoji_part(text[run.start() - 1 : run.start()], chars, text[run.end() : run.end() + 1])
    hidden: list[tuple[str, int]] = []
    # The tags of an unfinished flag are no hidden text.
    begins_flag = text[run.start() - 1 : run.start()] == _BLACK_FLAG and any(
        flag.startswith(chars) for flag in _TAG_FLAGS
    )
    if len(kept) < len(chars) and not begins_flag:
        hidden = [
            (chr(ord(char) - 0xE0000), at)
            for at, char in enumerate(chars)
            if at >= len(kept) and "\U000e0020" <= char <= "\U000e007e"
        ]
        for selectors in _SELECTOR_RUN.finditer(chars):
            hidden += [(char, selectors.start() + at) for char, at in _from_selectors(selectors[0])]
        hidden.sort(key=lambda char_and_place: char_and_place[1])
    return kept, hidden


def _emoji_part(before: str, chars: str, after: str) -> str:
    """The part of a run that belongs to the emoji around it: selector and joiner, keycap, or flag."""
    if before == _BLACK_FLAG:
        return next((flag for flag in _TAG_FLAGS if chars.startswith(flag)), "")
    if chars == _EMOJI_STYLE and after == _KEYCAP:
        return chars
    if not _EMOJI_CHAR.match(before):
        return ""
    style = chars[:1] if chars[:1] in ("\ufe0e", _EMOJI_STYLE) else ""
    if chars[len(style) :] == _JOINER and _EMOJI_CHAR.match(after):
        return chars
    return style


def _from_selectors(selectors: str) -> list[tuple[str, int]]:
    """Text encoded in variation selectors: a byte each, or half a byte each if only the first sixteen are used."""
    codes = [ord(char) for char in selectors]
    values = [code - 0xFE00 if code < 0xE0000 else code - 0xE0100 + 16 for code in codes]
    step = 1
    if max(values) < 16:
        values, step = [high * 16 + low for high, low in zip(values[::2], values[1::2], strict=False)], 2
    hidden, place = [], 0
    for char in bytes(values).decode("utf-8", "ignore"):
        if char.isprintable():
            hidden.append((char, min(place, len(codes) - 1)))
        place += step * len(char.encode())
    return hidden


def _from_bits(run: str) -> str:
    """Text encoded as bits in a run of two different characters; "" if it is none."""
    two = sorted(set(run))
    if len(two) != 2 or len(run) < 16:
        return ""
    for zero in two:
        bits = "".join("0" if char == zero else "1" for char in run[: len(run) // 8 * 8])
        hidden = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).decode("utf-8", "replace")
        if hidden.isascii() and hidden.isprintable():
            return hidden
    return ""
