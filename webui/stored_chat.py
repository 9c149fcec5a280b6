"""The review of a chat as it is stored with its newest answer, the same for every host.

What is judged: each message, with all that a page shows of it. Sources are not: a page shows them after a click, and a
refused answer loses them. What is replaced: the newest answer, if it or its prompt may not pass; earlier answers that
are refused; earlier prompts that are refused, if the host rewrites them. Earlier turns that could not be judged in time
stay, since nothing of a stored chat may be lost for that.
"""

from typing import NamedTuple

from moderation.asker import asking_for
from moderation.notices.notice import NoticeKind
from moderation.review import Review
from webui.bodies import Body
from webui.message_reviews import MessageReviews, ReviewedMessage
from webui.messages import add_note, mark_once, replace
from webui.moderator import Moderator
from webui.request_context import RequestContext


class StoredChatTerms(NamedTuple):
    """What a host wants of the review, and knows of the answer."""

    rewrite_prompts: bool = True
    """Replace refused prompts too."""
    recorded: bool = False
    """Whether the maker of the answer recorded it: then it is recorded here only if it may not pass."""
    unchecked: bool = False
    """Whether the answer was made without some earlier turns that could not be judged in time."""


class StoredChatReview:
    """Reviews one stored chat.

    Args:
        moderator: judges and records.
        messages: the chat, oldest first. They are changed in place.
        newest: the index of the newest answer.
        context: what the host knows of the answer.
        terms: what the host wants, and knows of the answer.
    """

    def __init__(
        self,
        moderator: Moderator,
        messages: list[Body],
        newest: int,
        context: RequestContext,
        terms: StoredChatTerms,
    ) -> None:
        self._moderator = moderator
        self._messages = messages
        self._newest = newest
        self._context = context
        self._terms = terms

    async def review(self) -> None:
        """Judge the chat, and replace in it what may not stay. Never raises."""
        asking_for(self._context.user)
        if self._moderator.exempts(self._context.role):
            if not self._terms.recorded:
                self._moderator.record_exempt(self._context.head("response"), self._context.role)
            return
        try:
            await self._review()
        except Exception as error:
            review = self._moderator.failed(self._context.head("response"), "the review of a stored chat failed", error)
            for message in [] if review.decision.passes else self._messages[self._newest :][:1]:
                replace(message, self._notice(review, "", NoticeKind.ANSWER_WITHHELD))

    async def _review(self) -> None:
        # What is replaced is the message itself, not what is judged of it.
        judged = [
            {key: value for key, value in message.items() if key != "sources"} if "sources" in message else message
            for message in self._messages
        ]
        found = await MessageReviews(self._moderator, judged, self._context.language).review()
        self._record(found)
        asked: ReviewedMessage | None = None
        for place, (message, one) in enumerate(zip(self._messages, found, strict=True)):
            if one.role != "assistant":
                asked = one
            if self._is_notice(one):
                if place != self._newest:
                    mark_once(message)
            elif one.role != "assistant":
                self._settle_prompt(message, one)
            elif place == self._newest:
                self._settle_newest(message, one, asked)
            elif one.review and one.review.is_refused:
                self._withhold(message, one)

    def _record(self, found: list[ReviewedMessage]) -> None:
        for place, one in enumerate(found):
            is_newest = place == self._newest
            if one.review is None or not (is_newest or one.review.fresh):
                continue
            if not self._terms.recorded or one.is_stopped:
                head = self._context.head("response" if is_newest else "history", str(one.message.get("id") or ""))
                self._moderator.record(head, one.reading, one.review)

    def _settle_prompt(self, message: Body, one: ReviewedMessage) -> None:
        if one.review and one.review.is_refused and self._terms.rewrite_prompts:
            self._moderator.remove(message, one.reading.text, one.review, self._context.language)

    def _settle_newest(self, message: Body, one: ReviewedMessage, asked: ReviewedMessage | None) -> None:
        if asked and asked.review and asked.is_stopped:
            # The chat model was asked to say the notice; whatever it said, the notice is shown.
            replace(message, self._notice(asked.review, asked.reading.text, NoticeKind.PROMPT_REFUSED))
        elif one.is_stopped:
            self._withhold(message, one)
        elif self._terms.unchecked:
            note = self._moderator.notices.text(
                NoticeKind.SOME_UNCHECKED, one.reading.text, reader_language=self._context.language
            )
            add_note(message, f"[{note}]")

    def _withhold(self, message: Body, one: ReviewedMessage) -> None:
        if one.review:
            replace(message, self._notice(one.review, one.reading.text, NoticeKind.ANSWER_WITHHELD))

    def _notice(self, review: Review, text: str, refused: NoticeKind) -> str:
        return self._moderator.notice(review, text, refused, self._context.language, self._context.role)

    def _is_notice(self, one: ReviewedMessage) -> bool:
        """Whether a message is a notice of ours and nothing else."""
        recognised = self._moderator.notices.recognises(one.reading.text)
        return one.review is None and recognised and not one.reading.asides
