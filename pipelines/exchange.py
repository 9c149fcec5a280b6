"""One request to a guarded model: its prompt raced against its upstream, its words and its records."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from moderation.audit import AuditRecord
from moderation.conversation import Turn
from moderation.notice import NoticeKind
from moderation.policy import Decision
from moderation.review import Review
from moderation.verdict import Verdict
from pipelines.mark import Mark
from pipelines.moderator import Moderator
from pipelines.prompt import Cleaned, Prompt, Refused
from pipelines.upstream import Upstream, UpstreamFailed
from pipelines.webui import Body, neutral_answer

Cleared = asyncio.Future[None]
Attempted = TypeVar("Attempted")


class Terms(NamedTuple):
    """How a request is served."""

    parallel: bool
    """The upstream starts before the prompt's verdict."""
    hold: bool
    """Nothing is shown before it was judged."""
    retracts: bool
    """The host takes a shown answer back when told so."""
    exempt: bool
    """Nobody judges."""
    pictures: bool
    """Pictures and sound in an answer pass unjudged."""


class MediaWithheld(Exception):
    """An answer holds parts that nobody can judge, and the admin wants none of them shown."""

    def __init__(self, review: Review) -> None:
        super().__init__(review.verdict.problem)
        self.review = review


class Exchange:
    """What a streamed and an unstreamed answer have in common.

    Args:
        moderator: judges, words and records.
        upstream: answers.
        request: as the client sent it, without `messages`, for the upstream's model.
        messages: as the client sent them.
        mark: what the inlet knew.
        head: who asks, for the audit.
        terms: how.
        headers: sent to the upstream with this request.
    """

    def __init__(
        self,
        moderator: Moderator,
        upstream: Upstream,
        request: Body,
        messages: list[Body],
        mark: Mark,
        head: AuditRecord,
        terms: Terms,
        headers: dict[str, str],
    ) -> None:
        self.moderator = moderator
        self.upstream = upstream
        self.request = request
        self.terms = terms
        self.headers = headers
        self._task = mark.task
        self._continues = bool(messages) and messages[-1].get("role") == "assistant"
        self._head = head
        self._prompt = Prompt(moderator, messages, mark, self._record_prompt, request)

    async def answered(self, attempt: Callable[[Cleaned, Cleared], Awaitable[Attempted]]) -> Attempted:
        """What `attempt` makes of the messages that may be sent.

        It starts with the history as far as its verdicts are remembered, while the prompt is judged, unless they refuse
        that already. Where the prompt is refused, it is cancelled; where an earlier turn must be removed, it is
        cancelled and made again without that turn. It must give nothing out before its future completes: the prompt is
        cleared then.

        Raises:
            Refused: the prompt may not be answered.
        """
        if self.terms.exempt:
            self.moderator.audit.record(self._head.model_copy(update={"direction": "prompt", "action": "exempt"}))
            cleared = asyncio.get_running_loop().create_future()
            cleared.set_result(None)
            return await attempt(self._prompt.unjudged(), cleared)
        cleared = asyncio.get_running_loop().create_future()
        sent = self._prompt.as_known() if self.terms.parallel else None
        # The upstream goes first: an answer takes longer than a verdict.
        trying = asyncio.ensure_future(attempt(sent, cleared)) if sent is not None else None
        reviewing = asyncio.ensure_future(self._prompt.review())
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

    def sent(self, cleaned: Cleaned) -> Body:
        """What the upstream is sent."""
        return {**cleaned.fields, "messages": cleaned.messages}

    def check_media(self, kinds: Collection[str]) -> None:
        """Raises MediaWithheld for parts that nobody can judge, unless they may pass."""
        if kinds and not self.terms.pictures and not self.terms.exempt:
            raise MediaWithheld(self.moderator.unread(kinds))

    async def told(self, failed: UpstreamFailed) -> str:
        """What is said of a failed upstream: its own words only if the guard clears them."""
        if not failed.words:
            return failed.message
        verdict = await self.moderator.guard.judge([Turn("assistant", failed.words)])
        passes = self.terms.exempt or self.moderator.policy.decide(verdict).passes
        return str(failed) if passes else f"{failed.message}."

    def refusal(self, refused: Refused) -> str:
        """What stands in place of an answer to a refused prompt."""
        notice = self.moderator.notice(refused.review, refused.message, NoticeKind.PROMPT_REFUSED)
        return self._placed(notice)

    def withheld(self, review: Review, text: str) -> str:
        """What stands in place of a refused answer."""
        return self._placed(self.moderator.notice(review, {"content": text}, NoticeKind.ANSWER_WITHHELD))

    def unchecked(self, text: str) -> str:
        """What stands in place of an answer whose rest could not be judged."""
        return self._placed(self.moderator.notices.text(NoticeKind.NOT_CHECKED, text))

    @property
    def notice_reason(self) -> str:
        """The finish reason behind a notice: Open WebUI must take the neutral answer to its own task for one."""
        return "stop" if self._task else "content_filter"

    def record_answer(
        self,
        text: str,
        verdict: Verdict | None = None,
        decision: Decision | None = None,
        *,
        problem: str | None = None,
        milliseconds: float | None = None,
        unjudged: Sequence[str] = (),
    ) -> None:
        """Audit an answer, or what there is of it and why it ended."""
        known: dict[str, Any] = {
            "unjudged": tuple(unjudged),
            "direction": "task" if self._task else "response",
            "guard": self.moderator.guard.model,
            "milliseconds": milliseconds,
        }
        if problem:
            verdict = verdict.model_copy(update={"problem": problem}) if verdict else Verdict.none(problem)
        self.moderator.audit.record(self._head.model_copy(update=known), text=text, verdict=verdict, decision=decision)

    def _record_prompt(self, message: Body, review: Review, direction: str) -> None:
        direction = "task" if self._task and direction != "tools" else direction
        self.moderator.record(self._head.model_copy(update={"direction": direction}), message, review)

    def _placed(self, notice: str) -> str:
        if self._task:
            return neutral_answer(self._task, notice)
        # Open WebUI adds what it gets to the answer that the request began.
        return f"\n\n{notice}" if self._continues else notice


async def _end(task: "asyncio.Future[Any] | None") -> None:
    """Cancel a task that may be over already, and wait until it is."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
