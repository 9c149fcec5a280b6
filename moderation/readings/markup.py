"""Joins words that markup splits on purpose: a page and a chat model read them as one word."""

import re

from moderation.readings.words import known_words

# Tags and comments of HTML, tags of forums, empty links and pictures of Markdown, commands of LaTeX.
_TAG = (
    r"(?:</?[A-Za-z][^<>\n]{0,200}>|<!--[^<>]{0,200}-->|\[/?[A-Za-z]{1,8}(?:=[^\[\]\n]{0,40})?\]"
    r"|!?\[\]\([^()\n]{0,200}\)|\]\([^()\n]{0,200}\)\[|\}\$?\$?\\[A-Za-z]{2,12}\{)"
)
_PIECE = r"[^\W\d_]{1,20}"
_SPLIT_WORD = re.compile(rf"(?<![^\W_]){_PIECE}(?:{_TAG}{{1,4}}{_PIECE})+(?![^\W_])")
_TAGS = re.compile(f"{_TAG}+")
_SIGNS = re.compile(r"[<\[{]")


def without_tags_in_words(text: str) -> str:
    """`text` without tags within words."""
    return _SPLIT_WORD.sub(_without_tags, text) if _SIGNS.search(text) else text


def _without_tags(found: re.Match[str]) -> str:
    word = _TAGS.sub("", found[0])
    return word if not word.isascii() or word.lower() in known_words() else found[0]
