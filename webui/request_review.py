"""The review of a request, the same for every host.

What is judged: each message, as what is left of the conversation before it; of a system text what the admin did not
write; of a task the turns that it quotes, and of its prompt what neither they nor Open WebUI's instructions say; the
words in the fields next to the messages; the definitions of tools.

What decides on the answer: the turns that a task quotes, then system texts and the newest turn with all that follows
it, then the fields. The first of these that may not pass refuses the request. An earlier turn that may not pass is
replaced, and an unsafe tool is left out; neither refuses the request.

What is recorded: what decides, once a request; all else when it is judged for the first time. A turn that a task quotes
has been recorded where it was said, so it is recorded again only if it is judged anew or refuses the task.
"""

import asyncio
from typing import NamedTuple

from moderation.asker import asking_for
from moderation.conversation import Turn
from moderation.review import Review
from webui.bodies import Body, newest_turn
from webui.extra_fields import Extra, ExtraFields
from webui.message_reviews import MessageReviews, ReviewedMessage
from webui.messages import SYSTEM_ROLES, decisive, reading
from webui.moderator import Moderator
from webui.request_context import RequestContext
from webui.request_notices import RequestNotices
from webui.task_prompt import without_quotes


class CleanRequest(NamedTuple):
    """A request without what was refused of it."""

    messages: list[Body]
    """As they may be sent."""
    fields: Body
    """The request's other fields, as they may be sent."""
    context: list[Turn]
    """As the guard reads the messages before the answer."""
    unchecked: int = 0
    """Earlier turns that could not be judged in time, so they are left out."""


class RequestRefused(Exception):
    """The request may not be answered.

    Args:
        review: why.
        answer: what is shown in place of an answer.
        message: the message that refuses it; None if none does.
    """

    def __init__(self, review: Review, answer: str, message: Body | None = None) -> None:
        super().__init__(review.verdict.problem or review.verdict.severity)
        self.review = review
        self.answer = answer
        self.message = message


def failed_review(moderator: Moderator, context: RequestContext, error: Exception) -> RequestRefused | None:
    """What an error of ours makes of a request, as the admin wants it: a refusal; or None, and it passes unjudged."""
    head = context.head(context.direction("prompt"))
    review = moderator.failed(head, "the review of a request failed", error)
    if review.decision.passes:
        return None
    return RequestRefused(review, RequestNotices(moderator, context, continues=False).refused(review, ""))


class _Found(NamedTuple):
    """What is known of the parts of a request."""

    quoted: list[ReviewedMessage]
    messages: list[ReviewedMessage]
    fields: Extra


class RequestReview:
    """Reviews one request.

    Args:
        moderator: judges and records.
        messages: as the request has them. They are not changed.
        fields: the rest of the request.
        context: what the host knows of the request.
    """

    def __init__(self, moderator: Moderator, messages: list[Body], fields: Body, context: RequestContext) -> None:
        self._moderator = moderator
        self._context = context
        self._messages: list[Body] = []
        judged: list[Body] = []
        for message in messages:
            content = message.get("content")
            if message.get("role") not in SYSTEM_ROLES or not isinstance(content, str):
                self._messages.append(message)
                judged.append(message)
                continue
            whole, part = context.split_system(content)
            if whole or not content:
                self._messages.append({**message, "content": whole} if whole != content else message)
                judged.append({**message, "content": part})
        quoted = list(context.quoted)
        readings = list(map(reading, quoted))
        judged = without_quotes(judged, [one.text for one in readings])
        self._newest = newest_turn(judged)
        self._reviews = MessageReviews(moderator, judged, context.language)
        self._quoted = MessageReviews(moderator, quoted, context.language, readings)
        self._fields = ExtraFields(moderator, fields, host=context.host_is_next)
        self._for_program = "response_format" in fields
        continues = bool(messages) and messages[-1].get("role") == "assistant"
        self.notices = RequestNotices(moderator, context, continues=continues)
        self.exempt = moderator.exempts(context.role)
        """Whether nobody judges this user's requests and their answers."""

    async def cached(self) -> CleanRequest | None:
        """The request by cached verdicts alone: what may be sent while the rest is judged.

        None if they refuse the request already.
        """
        if self.exempt:
            return self._unjudged()
        try:
            found = _Found(await self._quoted.cached(), await self._reviews.cached(), await self._fields.cached())
            return None if self._stopped(found) else self._cleaned(found)
        except Exception:
            # The review meets the same error of ours, logs it and decides.
            return None

    async def review(self) -> CleanRequest:
        """The request that may be sent.

        Raises:
            RequestRefused: it may not be answered. Nothing else: an error of ours is decided on as a missing verdict.
        """
        asking_for(self._context.user)
        if self.exempt:
            if not self._context.reviewed:
                head = self._context.head(self._context.direction("prompt"))
                self._moderator.record_exempt(head, self._context.role)
            return self._unjudged()
        try:
            found = _Found(*await asyncio.gather(self._quoted.review(), self._reviews.review(), self._fields.review()))
            self._record(found)
            stopped, cleaned = self._stopped(found), self._cleaned(found)
        except Exception as error:
            if refused := failed_review(self._moderator, self._context, error):
                raise refused from error
            return self._unjudged()
        if stopped is not None and stopped.review is not None:
            answer = self.notices.refused(stopped.review, stopped.reading.text)
            raise RequestRefused(stopped.review, answer, stopped.message)
        return cleaned

    def preface(self, cleaned: CleanRequest) -> str:
        """What the answer begins with if it was made without some earlier turns; empty if a program reads it."""
        if not cleaned.unchecked or self._for_program:
            return ""
        return self.notices.preface(cleaned.context[-1].text if cleaned.context else "")

    def _unjudged(self) -> CleanRequest:
        """The request as it is."""
        return CleanRequest(self._messages, self._fields.unjudged(), [])

    def _record(self, found: _Found) -> None:
        for one in found.quoted:
            if one.review and (one.review.fresh or one.is_stopped):
                self._record_one(one, "task")
        for one, decides in self._with_decisive(found):
            if self._is_worth_a_record(one, decides=decides):
                self._record_one(one, self._context.direction("prompt" if decides else "history"))
        for direction, one in found.fields.judged:
            if self._is_worth_a_record(one, decides=True):
                self._record_one(one, direction if direction == "tools" else self._context.direction(direction))

    def _is_worth_a_record(self, one: ReviewedMessage, *, decides: bool) -> bool:
        again = self._context.reviewed and not one.is_stopped
        return one.review is not None and (one.review.fresh or (decides and not again))

    def _record_one(self, one: ReviewedMessage, direction: str) -> None:
        if one.review:
            self._moderator.record(self._context.head(direction), one.reading, one.review)

    def _stopped(self, found: _Found) -> ReviewedMessage | None:
        """What refuses the request."""
        deciding = [*found.quoted, *(one for one, decides in self._with_decisive(found) if decides)]
        return next((one for one in deciding if one.is_stopped), found.fields.refused)

    def _with_decisive(self, found: _Found) -> list[tuple[ReviewedMessage, bool]]:
        decides = decisive([one.message for one in found.messages], self._newest)
        return list(zip(found.messages, decides, strict=True))

    def _cleaned(self, found: _Found) -> CleanRequest:
        messages, turns = list(self._messages), []
        for place, one in enumerate(found.messages):
            text = one.reading.text
            if one.review and one.is_stopped:
                messages[place] = dict(messages[place])
                text = self._moderator.remove(messages[place], text, one.review, self._context.language)
            if one.role and text.strip():
                turns.append(Turn(one.role, text))
        if found.quoted:
            # The answer to a task is read after the newest prompt that it quotes.
            prompts = [one.reading.text for one in found.quoted if one.message.get("role") == "user"]
            turns = [Turn("user", text) for text in prompts if text.strip()][-1:]
        return CleanRequest(messages, found.fields.fields, turns, self._reviews.unchecked)
