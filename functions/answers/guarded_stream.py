"""One streamed answer as its events pass: what comes out was judged.

There is no task that waits for events, since nobody says when a reader has left. A check runs as a task; what it
cleared goes out with the event that comes next. Only the first words and the last ones wait for their check.
"""

import asyncio

from functions.answers.one_event import one_event
from functions.answers.shown_events import NO_EVENT, ShownEvents, StreamTerms
from moderation.answer.channels import Reading
from moderation.answer.growing import GrowingAnswer, Judged
from moderation.answer.holdback import HoldBack
from moderation.answer.progress import AnswerProgress, End
from moderation.asker import asking_for
from moderation.policy import Decision
from moderation.review import Review
from moderation.verdict import Verdict
from webui.bodies import Body, listed, object_or_empty
from webui.chat_completions import error_chunk
from webui.guarded.answer_reader import AnswerReader, AnswerUnreadable
from webui.guarded.answer_record import record_answer
from webui.guarded.choice import finish_reason
from webui.guarded.responses_events import ResponsesEvents, is_responses_event
from webui.guarded.server_replies import raise_error_in
from webui.guarded.upstream import UpstreamFailed
from webui.guarded.upstream_words import explained
from webui.json_text import is_text
from webui.log import log
from webui.moderator import Moderator
from webui.request_context import RequestContext
from webui.request_notices import RequestNotices

# Events are read when a check is due, which costs a tenth of reading each by itself; more than these do not wait.
_MOST_UNREAD = 256
# Seconds of reading in one go. Some model servers' events take half a millisecond each, and Open WebUI has other users.
_READ_IN_ONE_GO = 0.002


class GuardedStream:
    """Holds back one answer. All methods are called by the host, one after another.

    Args:
        moderator: judges, words and records.
        context: what is known of the request.
        notices: words what is shown in place of the answer.
        terms: how it is shown.
    """

    def __init__(
        self, moderator: Moderator, context: RequestContext, notices: RequestNotices, terms: StreamTerms
    ) -> None:
        self._moderator = moderator
        self._context = context
        self._notices = notices
        self._terms = terms
        self._clock = asyncio.get_running_loop().time
        self._reader = AnswerReader()
        self._responses: ResponsesEvents | None = None
        self._shown = ShownEvents(self._reader, terms)
        self._held = HoldBack(pictures=moderator.valves.images == "allow")
        self._progress = AnswerProgress(self._held, self._clock())
        self._answer = GrowingAnswer(moderator.guard, moderator.policy, terms.context)
        self._unread: list[Body] = []
        self._check: asyncio.Task[Judged] | None = None
        self._reading: Reading | None = None
        self._last: tuple[Verdict, Decision] | None = None
        self._whole = False
        self._closing: asyncio.Future[None] | None = None
        self.begun = False
        """Whether any event has come."""
        self.ended = False
        """Whether the answer has its record, and nothing more of it is shown."""
        self._stopping = False

    async def pass_on(self, event: Body) -> Body:
        """What may be shown now. Never raises but to stop a refused answer, as its user would."""
        if not self.begun:
            self._begin()
        try:
            return await self._pass_on(event)
        except AnswerUnreadable as error:
            return self._withheld(str(error))
        except Exception as error:
            # An error of ours is no reason to show what nobody judged.
            log.exception("the check of an answer failed")
            return self._withheld(f"the check of an answer failed: {type(error).__name__}")

    async def rest(self) -> Body:
        """The event that an answer without a finish reason ends with."""
        if self.ended or not self.begun:
            return NO_EVENT
        try:
            return await self._finish()
        except Exception as error:
            log.exception("the check of an answer failed")
            return self._withheld(f"the check of an answer failed: {type(error).__name__}")

    def refuse(self, problem: str) -> Body:
        """The only event of an answer that nobody can judge, for this reason."""
        self.begun = True
        return NO_EVENT if self.ended else self._withheld(problem)

    def _begin(self) -> None:
        self.begun = True
        task = asyncio.current_task()
        if task is not None:
            # The host says nothing when a reader leaves, but it ends what calls us.
            task.add_done_callback(self._left)

    async def _pass_on(self, event: Body) -> Body:
        if self.ended:
            return self._after_end(event)
        choices = event.get("choices")
        if not choices or not isinstance(choices, list):
            return await self._without_choices(event)
        self._unread.append(event)
        if finish_reason(object_or_empty(choices[0])):
            return await self._finish()
        if not self._terms.hold:
            return await self._at_once()
        if self._check is None:
            if self._clock() < self._progress.due and len(self._unread) < _MOST_UNREAD:
                return NO_EVENT
            if (withheld := await self._read()) is not None:
                return withheld
            if not self._progress.has_more() or self._clock() < self._progress.due:
                return NO_EVENT
            self._start(self._progress.reading())
        if self._shown.any and self._check is not None and not self._check.done():
            return NO_EVENT if len(self._unread) < _MOST_UNREAD else await self._read() or NO_EVENT
        return await self._settled()

    async def _at_once(self) -> Body:
        """Show what came, and judge it afterwards."""
        if (withheld := await self._read()) is not None:
            return withheld
        shown = await self._shown.of(self._held.release_all())
        if self._check is not None and self._check.done():
            settled = await self._settle(self._check.result())
            return settled if self.ended else shown
        if self._check is None and self._progress.has_more() and self._clock() >= self._progress.due:
            self._start(self._progress.reading())
        return shown

    async def _finish(self) -> Body:
        """Judge all of the answer, and show the rest of it."""
        self._whole = True
        if (withheld := await self._read()) is not None:
            return withheld
        # A server may say that it is done without a reason.
        self._reader.finish.setdefault(0, "stop")
        for piece in self._reader.pieces_at_end():
            self._held.feed(piece)
        if self._check is not None and self._reading is not None and self._reading.arrived < self._held.arrived:
            # The whole answer must be checked anyway, so nobody need wait for this check.
            self._check.cancel()
            self._check = None
        events = []
        while not self.ended:
            if self._check is None:
                self._start(self._held.reading(words=False))
            events.append(await self._settled())
        return one_event(filter(None, events)) if len(events) > 1 else events[0]

    async def _read(self) -> Body | None:
        """Read what came. Gives what is shown instead if a part of it may not be shown at all."""
        events, self._unread = self._unread, []
        pause_at = self._clock() + _READ_IN_ONE_GO
        for event in events:
            if self._clock() >= pause_at:
                await asyncio.sleep(0)
                pause_at = self._clock() + _READ_IN_ONE_GO
            for piece in self._reader.pieces_of(event):
                self._held.feed(piece)
        media = self._media
        if media and self._moderator.valves.images == "withhold":
            review = self._moderator.unread(media)
            self._last = review.verdict, review.decision
            return self._concluded(self._notices.unchecked(self._held.text))
        return None

    @property
    def _media(self) -> list[str]:
        return list(dict.fromkeys([*self._reader.media, *self._held.media]))

    def _start(self, reading: Reading) -> None:
        # Checks are this user's, whatever task the host calls us in.
        asking_for(self._context.user)
        self._progress.started(self._clock())
        self._reading = reading
        self._check = asyncio.get_running_loop().create_task(self._judge(reading.text, end=self._whole))

    async def _judge(self, text: str, *, end: bool) -> Judged:
        try:
            return await self._answer.judge(text, end=end)
        finally:
            self._progress.ended(self._clock())

    async def _settled(self) -> Body:
        assert self._check is not None
        return await self._settle(await self._check)

    async def _settle(self, judged: Judged) -> Body:
        """Show what a check cleared, or what is shown instead of the answer."""
        reading, self._check, self._reading = self._reading, None, None
        assert reading is not None
        decision = self._moderator.policy.decide(judged.verdict)
        self._last = judged.verdict, decision
        whole = self._whole and reading.arrived == self._held.arrived
        released, end = self._progress.outcome(judged, decision, reading, whole=whole, now=self._clock())
        if end is None or end is End.COMPLETE:
            if end is not None:
                self._end()
            return await self._shown.of(released)
        review = Review(judged.verdict, decision, 0, True)
        return self._concluded(self._notices.withheld(review, self._held.text))

    def _concluded(self, notice: str, problem: str | None = None) -> Body:
        """The last event of an answer that may not be shown, or not to its end."""
        self._end(problem)
        # After the finish reason there is nothing left to stop.
        self._stopping = self._terms.on_page and not self._whole
        return self._shown.notice(notice, self._notices.finish_reason)

    def _withheld(self, problem: str) -> Body:
        return self._concluded(self._notices.unchecked(""), problem)

    def _end(self, problem: str | None = None) -> None:
        self.ended = True
        verdict, decision = self._last or (None, None)
        record_answer(
            self._moderator,
            self._context,
            self._held.text,
            verdict,
            decision,
            problem=problem,
            unjudged=self._media,
        )
        if self._check is not None:
            self._check.cancel()
            self._check = None
        self._unread = []
        self._closing = asyncio.ensure_future(self._answer.aclose())

    def _after_end(self, event: Body) -> Body:
        """Only figures come after the end of a complete answer."""
        if self._stopping:
            raise asyncio.CancelledError("the answer was refused")
        if not self._whole or not (event.get("usage") or event.get("timings")):
            return NO_EVENT
        return self._shown.figures(event)

    async def _without_choices(self, event: Body) -> Body:
        try:
            raise_error_in(event)
        except UpstreamFailed as failed:
            self._end(f"the upstream failed: {failed}")
            return error_chunk(await explained(self._moderator, failed), failed.status)
        selected = event.get("selected_model_id")
        if isinstance(selected, str) and not is_text(selected):
            return {"selected_model_id": selected}
        sources = listed(event.get("sources"))
        if event.keys() == {"sources"} and len(sources) <= len(self._terms.sources):
            # The same event from a model server, such as another Open WebUI, holds what nobody judged.
            return event if all(source in self._terms.sources for source in sources) else NO_EVENT
        if is_responses_event(event):
            return await self._responses_event(event)
        if "choices" in event:
            self._unread.append(event)
        return NO_EVENT

    async def _responses_event(self, event: Body) -> Body:
        if self._responses is None:
            if self._unread or self._reader.has_choices:
                # Its server speaks otherwise, and Open WebUI would act on this all the same.
                return NO_EVENT
            self._responses = ResponsesEvents()
        events = [await self._pass_on(chunk) for chunk in self._responses.chunks_of(event)]
        return next((each for each in events if "error" in each), None) or one_event(filter(None, events))

    def _left(self, task: "asyncio.Task[None]") -> None:
        """The host has ended what called us."""
        if not self.ended:
            self._end("the reader left, or the model server ended the answer without a finish reason")
