"""One request to a guarded model: its review raced against its upstream, and the records of its answer."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from moderation.asker import asking_for
from moderation.review import Review
from webui.bodies import Body, messages_of
from webui.guarded.answer_record import record_answer
from webui.guarded.upstream import Upstream, UpstreamFailed
from webui.guarded.upstream_words import explained
from webui.moderator import Moderator
from webui.request_context import RequestContext
from webui.request_review import CleanRequest, RequestReview

Cleared = asyncio.Future[None]
Attempted = TypeVar("Attempted")


class Terms(NamedTuple):
    """How a request is served."""

    parallel: bool
    """The upstream is called before the prompt has its verdict."""
    hold: bool
    """Nothing is shown before it was judged."""
    retracts: bool
    """The host takes back a shown answer when it gets a retraction."""
    headers: Mapping[str, str] = {}
    """Sent to the upstream with this request."""


class MediaWithheld(Exception):
    """An answer holds parts that nobody can judge, and the admin wants none of them shown."""

    def __init__(self, review: Review) -> None:
        super().__init__(review.verdict.problem)
        self.review = review


class GuardedRequest:
    """What a streamed and an unstreamed answer have in common.

    Args:
        moderator: judges, words and records.
        upstream: answers.
        body: the client's request, for a model by the upstream's own name.
        context: what the host knows of the request.
        terms: how it is served.
    """

    def __init__(
        self, moderator: Moderator, upstream: Upstream, body: Body, context: RequestContext, terms: Terms
    ) -> None:
        self.moderator = moderator
        self.upstream = upstream
        self.terms = terms
        self._context = context
        self._fields = {name: value for name, value in body.items() if name != "messages"}
        self._review = RequestReview(moderator, messages_of(body), self._fields, context)
        self.notices = self._review.notices
        self.preface = self._review.preface
        self.exempt = self._review.exempt
        """Whether nobody judges the answer."""
        self.record_answer = partial(record_answer, moderator, context)

    @property
    def model(self) -> str:
        """The upstream's own name of the model."""
        return str(self._fields.get("model") or "")

    @property
    def choices(self) -> object:
        """How many answers the client asks for, as it says it."""
        return 1 if self._fields.get("n") is None else self._fields["n"]

    async def answered(self, attempt: Callable[[CleanRequest, Cleared], Awaitable[Attempted]]) -> Attempted:
        """What `attempt` makes of the request that may be sent.

        Starts the upstream call from cached verdicts while the request is being judged, unless a cached verdict already
        refuses it. A refusal cancels the call. If an earlier turn must be removed, the call is cancelled and made again
        without that turn. `attempt` must emit nothing before its future completes: then the request is cleared.

        Raises:
            RequestRefused: the request may not be answered.
        """
        # The checks of the answer are this user's too.
        asking_for(self._context.user)
        cleared = asyncio.get_running_loop().create_future()
        sent = await self._review.cached() if self.terms.parallel else None
        # The upstream goes first: an answer takes longer than a verdict.
        trying = asyncio.ensure_future(attempt(sent, cleared)) if sent is not None else None
        reviewing = asyncio.ensure_future(self._review.review())
        try:
            cleaned = await reviewing
            if trying is None or cleaned != sent:
                await _end(trying)
                cleared = asyncio.get_running_loop().create_future()
                trying = asyncio.ensure_future(attempt(cleaned, cleared))
            cleared.set_result(None)
            return await trying
        finally:
            await _end(reviewing)
            await _end(trying)

    def sent(self, cleaned: CleanRequest) -> Body:
        """What the upstream is sent."""
        return {**cleaned.fields, "messages": cleaned.messages}

    def check_media(self, kinds: Collection[str]) -> None:
        """Raises MediaWithheld for parts that nobody can judge, unless they may pass."""
        if kinds and self.moderator.valves.images == "withhold" and not self.exempt:
            raise MediaWithheld(self.moderator.unread(kinds))

    async def explained(self, failed: UpstreamFailed) -> str:
        """What a reader gets to read of a failed upstream: its own words only if the guard clears them."""
        return await explained(self.moderator, failed, exempt=self.exempt)


async def _end(task: "asyncio.Future[Any] | None") -> None:
    """Cancel a task that may be over already, and wait until it is."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
