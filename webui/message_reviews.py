"""The reviews of some messages, of a request or of a stored chat. Each message is read once."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moderation.conversation import Role
from moderation.notices.notice import NoticeKind
from moderation.policy import Action, Decision
from moderation.review import ChatReview, Review
from moderation.verdict import Verdict
from webui.bodies import Body, newest_turn
from webui.messages import SYSTEM_ROLES, MessageReading, reading, role_of
from webui.moderator import Moderator

_REMOVED = (NoticeKind.TURN_REMOVED,)
# Other tasks get their turn on the event loop after so many messages.
_MESSAGES_READ_AT_ONCE = 100
_NOT_READ = MessageReading("", (), ())


class ReviewedMessage(NamedTuple):
    """A message, as it was judged, and what became of it."""

    message: Body
    role: Role | None
    """As whose message it is judged; None if nobody judges it: a trusted system text."""
    reading: MessageReading
    """What it holds; nothing if nobody judges it."""
    review: Review | None
    """None also for notices of ours, for messages without text, and, of cached reviews, if there is none."""

    @property
    def is_stopped(self) -> bool:
        """Whether it may not pass: it was refused, or could not be judged."""
        return self.review is not None and not self.review.decision.passes


class MessageReviews:
    """Reviews messages. None of them may change meanwhile.

    Args:
        moderator: judges.
        messages: oldest first.
        language: that the reader set, if it is known.
        readings: of the messages, if somebody has read them already.
    """

    def __init__(
        self,
        moderator: Moderator,
        messages: list[Body],
        language: str | None = None,
        readings: Sequence[MessageReading] = (),
    ) -> None:
        self._moderator = moderator
        self._messages = messages
        self._language = language
        self._readings = list(readings)
        self._roles = [moderator.role_of(message) for message in messages]
        self._chat: ChatReview | None = None
        self.unchecked = 0
        """Earlier turns that could not be judged in time, though they hold nothing that a guard cannot read."""

    async def cached(self) -> list[ReviewedMessage]:
        """What `review` would say without asking the guard."""
        chat = await self._read()
        return self._reviewed(await chat.cached())

    async def review(self) -> list[ReviewedMessage]:
        """Each message with its review."""
        chat = await self._read()
        found = await chat.review(within=self._moderator.valves.timeout_seconds)
        newest = newest_turn(self._messages)
        self.unchecked = sum(
            place < newest
            and self._messages[place].get("role") not in SYSTEM_ROLES
            and review is not None
            and review.decision.action is Action.WITHHOLD
            for place, review in zip(self._judged_places(), found, strict=True)
        )
        return self._reviewed(found)

    async def _read(self) -> ChatReview:
        if self._chat is None:
            for index in range(len(self._readings), len(self._messages)):
                self._readings.append(reading(self._messages[index]) if self._roles[index] else _NOT_READ)
                if index % _MESSAGES_READ_AT_ONCE == _MESSAGES_READ_AT_ONCE - 1:
                    await asyncio.sleep(0)
            pairs = zip(self._roles, self._readings, strict=True)
            said, moderator = [one.as_said_by(role) for role, one in pairs if role], self._moderator
            self._chat = ChatReview(said, moderator.guard, moderator.policy, moderator.notices, self._language)
        return self._chat

    def _judged_places(self) -> Iterator[int]:
        return (place for place, role in enumerate(self._roles) if role)

    def _reviewed(self, found: Sequence[Review | None]) -> list[ReviewedMessage]:
        reviews: list[Review | None] = [None] * len(self._messages)
        for place, review in zip(self._judged_places(), found, strict=True):
            reviews[place] = self._with_media(self._readings[place].media, review)
        newest = newest_turn(self._messages)
        if self._messages and self._was_removed(newest):
            verdict = Verdict.none("this turn was refused before, and is asked again")
            reviews[newest] = Review(verdict, Decision(action=Action.REFUSE, flagged=Action.REFUSE), 0, False)
        return list(map(ReviewedMessage, self._messages, self._roles, self._readings, reviews))

    def _with_media(self, media: Sequence[str], review: Review | None) -> Review | None:
        """The review of a message with parts that the guard cannot read."""
        if not media:
            return review
        if self._moderator.valves.images == "withhold" and (review is None or review.decision.passes):
            return self._moderator.unread(media)
        # Nothing to judge is no reason for no record.
        return review or Review(Verdict(severity=None), Decision(action=Action.PASS, flagged=Action.PASS), 0, False)

    def _was_removed(self, place: int) -> bool:
        """Whether nothing is left of a user's turn, as when an answer to a refused one is asked for again."""
        removed = self._moderator.notices.recognises(self._readings[place].text, _REMOVED)
        return removed and role_of(self._messages[place]) == "user" and self._moderator.policy.mode == "enforce"
