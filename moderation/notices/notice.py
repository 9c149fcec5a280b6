"""The texts that replace an unsafe turn, in the reader's language."""

import re
from enum import StrEnum
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from moderation.notices.language import language_of
from moderation.notices.notice_texts import TEXTS
from moderation.verdict import Category, Verdict

_NAME = "|".join(map(re.escape, Category))
_CATEGORIES = re.compile(rf" \((?:{_NAME})(?:, (?:{_NAME}))*\)$")


class NoticeKind(StrEnum):
    """What a notice is for. The values are the keys of `notice_texts.TEXTS`."""

    PROMPT_REFUSED = "prompt_refused"
    ANSWER_WITHHELD = "answer_withheld"
    NOT_CHECKED = "not_checked"
    TURN_REMOVED = "turn_removed"
    """Replaces a refused user turn in the history, both for the chat model and in the record."""
    TURN_UNCHECKED = "turn_unchecked"
    """Replaces a turn that could not be judged in time, in the history for the chat model."""
    SOME_UNCHECKED = "some_unchecked"
    """Informs the reader of an answer that some earlier turns were left out because they could not be judged."""


class Notices(BaseModel):
    """Chooses the text of a notice, and recognises notices in a chat."""

    model_config = ConfigDict(frozen=True)

    language: str = "auto"
    """One of `LANGUAGES`, or `auto`: the language of the turn that the notice is about, else the reader's, else
    English."""
    texts: dict[NoticeKind, str] = {}
    """The admin's own texts, used in every language."""
    show_categories: bool = False

    def text(
        self, kind: NoticeKind, turn: str, verdict: Verdict | None = None, reader_language: str | None = None
    ) -> str:
        """The notice of `kind` about `turn`.

        Args:
            reader_language: the language setting of the reader, such as `de-DE`, if it is available.
        """
        language = self.language if self.language in TEXTS else language_of(turn, reader_language)
        notice = self.texts.get(kind) or TEXTS[language][kind]
        if self.show_categories and verdict is not None and verdict.categories:
            notice += f" ({', '.join(verdict.categories)})"
        return notice

    def removed(self, role: Literal["user", "assistant"], turn: str, reader_language: str | None = None) -> str:
        """The notice that replaces a refused turn of the history, in the request and in the record."""
        return self.text(
            NoticeKind.TURN_REMOVED if role == "user" else NoticeKind.ANSWER_WITHHELD,
            turn,
            reader_language=reader_language,
        )

    def recognises(self, text: str, kinds: tuple[NoticeKind, ...] = tuple(NoticeKind)) -> bool:
        """Whether `text` is one of our notices, in any language, with or without categories at its end."""
        bare = text.strip()
        if bare.endswith(")"):
            # Only categories may follow a notice: any other text after it would pass without being judged.
            bare = _CATEGORIES.sub("", bare)
        return bare in _texts_of(kinds) or bare in [self.texts.get(kind) for kind in kinds]


@cache
def _texts_of(kinds: tuple[NoticeKind, ...]) -> frozenset[str]:
    """The project's notices of these kinds in all languages. Cached: each turn of a long chat is compared with them."""
    return frozenset(texts[kind] for texts in TEXTS.values() for kind in kinds)


LANGUAGES = tuple(TEXTS)
