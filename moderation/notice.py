"""The texts that stand where an unsafe turn was, in the reader's language."""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from moderation.language import language_of
from moderation.notice_texts import TEXTS
from moderation.verdict import Category, Verdict

_NAME = "|".join(map(re.escape, Category))
_CATEGORIES = re.compile(rf" \((?:{_NAME})(?:, (?:{_NAME}))*\)$")


class NoticeKind(StrEnum):
    """What a notice says. The values are the keys of `notice_texts.TEXTS`."""

    PROMPT_REFUSED = "prompt_refused"
    ANSWER_WITHHELD = "answer_withheld"
    NOT_CHECKED = "not_checked"
    TURN_REMOVED = "turn_removed"
    """Stands for a refused user turn in the history that the chat model and the record get."""


class Notices(BaseModel):
    """Chooses and recognises notices."""

    model_config = ConfigDict(frozen=True)

    language: str = "auto"
    """One of `LANGUAGES`, or `auto`: that of the turn that the notice answers; else the reader's; else English."""
    texts: dict[NoticeKind, str] = {}
    """The admin's own texts, used in every language."""
    show_categories: bool = False

    def text(self, kind: NoticeKind, turn: str, verdict: Verdict | None = None, told: str | None = None) -> str:
        """The notice of `kind` for a reader who wrote or would have read `turn`.

        Args:
            told: the language that the reader set, such as `de-DE`, if it is known.
        """
        language = self.language if self.language in TEXTS else language_of(turn, told)
        notice = self.texts.get(kind) or TEXTS[language][kind]
        if self.show_categories and verdict is not None and verdict.categories:
            notice += f" ({', '.join(verdict.categories)})"
        return notice

    def removed(self, role: Literal["user", "assistant"], turn: str, told: str | None = None) -> str:
        """The notice that stands for a refused turn of the history, in the request and in the record."""
        return self.text(NoticeKind.TURN_REMOVED if role == "user" else NoticeKind.ANSWER_WITHHELD, turn, told=told)

    def recognises(self, text: str, kinds: Collection[NoticeKind] = tuple(NoticeKind)) -> bool:
        """Whether a turn is a notice of ours, in any language, with or without categories behind it."""
        known = {texts[kind] for texts in TEXTS.values() for kind in kinds}
        known |= {self.texts[kind] for kind in kinds if kind in self.texts}
        # Nothing else may stand behind a notice: it would pass for one unjudged.
        return _CATEGORIES.sub("", text.strip()) in known


LANGUAGES = tuple(TEXTS)
