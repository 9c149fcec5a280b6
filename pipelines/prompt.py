"""What a guarded model is about to read: judged, and cleaned of what was refused before."""

import asyncio
import copy
from collections.abc import Callable
from typing import NamedTuple

from moderation.conversation import Turn
from moderation.review import Review
from pipelines.extra_fields import ExtraFields
from pipelines.mark import Mark, split_system
from pipelines.messages import SYSTEM_ROLES, decisive, read
from pipelines.moderator import Moderator
from pipelines.task_prompt import context_of, without_quotes
from pipelines.webui import Body, newest_turn


class Cleaned(NamedTuple):
    """A request without what was refused of it."""

    messages: list[Body]
    """As they may be sent."""
    context: list[Turn]
    """As the guard reads them before the answer."""
    fields: Body
    """The request's other fields, as they may be sent."""


class Refused(Exception):
    """The request may not be answered."""

    def __init__(self, message: Body, review: Review) -> None:
        super().__init__(review.verdict.problem or review.verdict.severity)
        self.message = message
        self.review = review


class Prompt:
    """All that a model is about to read of one request.

    Args:
        moderator: judges.
        messages: as the request has them.
        mark: tells which part of a system text is the admin's, and what a task quotes.
        record: gets each message that decides on the answer or was judged now, its review, and whether it is the
            newest `prompt`, `history`, or a definition of `tools`.
        fields: the rest of the request.
    """

    def __init__(
        self,
        moderator: Moderator,
        messages: list[Body],
        mark: Mark,
        record: Callable[[Body, Review, str], None],
        fields: Body,
    ) -> None:
        self._moderator = moderator
        self._record = record
        self._extra = ExtraFields(moderator, fields)
        self._quoted = list(mark.quoted)
        self._messages: list[Body] = []
        # As the guard reads them: of a system text only what is not the admin's, of a task only what is not the host's.
        self._judged: list[Body] = []
        for message in messages:
            content = message.get("content")
            if message.get("role") not in SYSTEM_ROLES or not isinstance(content, str):
                self._messages.append(message)
                self._judged.append(message)
                continue
            whole, judged = split_system(content, mark)
            if whole:
                self._messages.append({**message, "content": whole})
                self._judged.append({**message, "content": judged})
        self._judged = without_quotes(self._judged, self._quoted)
        self._newest = newest_turn(self._messages)

    def as_known(self) -> Cleaned | None:
        """The request as far as verdicts are remembered: what may be sent while the rest is judged.

        None where they refuse the request already.
        """
        known, quoted = self._moderator.known(self._judged), self._moderator.known(self._quoted)
        extra = self._extra.known()
        refused = any(_refuses(result, decides) for _, result, decides in self._found(known, quoted))
        return None if refused or extra.refused else self._cleaned(known, extra.fields)

    def unjudged(self) -> Cleaned:
        """The request as it is, for those who are exempt."""
        return self._cleaned([], self._extra.unjudged())

    async def review(self) -> Cleaned:
        """The request that may be sent.

        Raises:
            Refused: the newest turn, a system text, a turn that a task quotes or another field may not be answered.
        """
        reviews, quoted, extra = await asyncio.gather(
            self._moderator.review(self._judged), self._moderator.review(self._quoted), self._extra.review()
        )
        found = self._found(reviews, quoted)
        for message, result, decides in found:
            if result and (decides or result.fresh):
                self._record(message, result, "prompt" if decides else "history")
        for direction, message, result in extra.judged:
            self._record(message, result, direction)
        for message, result, decides in found:
            if result and _refuses(result, decides):
                raise Refused(message, result)
        if extra.refused:
            raise Refused(*extra.refused)
        return self._cleaned(reviews, extra.fields)

    def _found(
        self, reviews: list[Review | None], quoted: list[Review | None]
    ) -> list[tuple[Body, Review | None, bool]]:
        """Each message, its review, and whether it decides on the answer."""
        found = [*zip(self._quoted, quoted, [True] * len(quoted), strict=True)]
        return [*found, *zip(self._judged, reviews, decisive(self._judged, self._newest), strict=True)]

    def _cleaned(self, reviews: list[Review | None], fields: Body) -> Cleaned:
        messages, context = list(self._messages), list(self._judged)
        for index, result in enumerate(reviews[: self._newest]):
            if result and not result.decision.passes:
                messages[index] = context[index] = copy.deepcopy(messages[index])
                self._moderator.remove(messages[index])
        if self._quoted:
            return Cleaned(messages, context_of(self._quoted), fields)
        turns = [(self._moderator.role_of(message), message) for message in context]
        texts = [Turn(role, read(message, role=role).text) for role, message in turns if role]
        return Cleaned(messages, [turn for turn in texts if turn.text.strip()], fields)


def _refuses(result: Review | None, decides: bool) -> bool:
    return decides and result is not None and not result.decision.passes
