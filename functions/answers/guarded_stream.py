"""One streamed answer as its events pass: what comes out was judged.

There is no task that waits for events, since nobody says when a reader has left. A check runs as a task; what it
cleared goes out with the event that comes next. Only the first words and the last ones wait for their check.
"""

import asyncio
from typing import NamedTuple

from functions.answers.one_event import one_event
from moderation.answer.channels import Piece, Reading
from moderation.answer.growing import GrowingAnswer, Judged
from moderation.answer.holdback import HoldBack
from moderation.answer.progress import End, Progress
from moderation.asker import asking_for
from moderation.conversation import Turn
from moderation.policy import Decision
from moderation.review import Review
from moderation.verdict import Verdict
from webui.bodies import Body, object_or_empty
from webui.chat_completions import end_chunk, text_chunk, with_role
from webui.guarded.answer_reader import AnswerReader, AnswerUnreadable
from webui.guarded.answer_record import record_answer
from webui.guarded.chunks import chunks_of, retraction_chunk
from webui.json_text import find, is_text
from webui.log import log
from webui.moderator import Moderator
from webui.request_context import RequestContext
from webui.request_notices import RequestNotices

NO_EVENT: Body = {}
"""In place of an event of which nothing is shown now."""
# Events are read when a check is due, which costs a tenth of reading each by itself; more than these do not wait.
_MOST_UNREAD = 256


class StreamTerms(NamedTuple):
    """How an answer is shown."""

    context: list[Turn]
    """The conversation before the answer, as it is sent to the model."""
    preface: str = ""
    """What the answer begins with."""
    hold: bool = True
    """Nothing is shown before it was judged."""
    retracts: bool = False
    """The page takes back a shown answer when it gets a retraction."""
    on_page: bool = False
    """A page reads the answer, so that its making can be stopped as the user would stop it."""


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
        self._preface = terms.preface
        self._clock = asyncio.get_running_loop().time
        self._reader = AnswerReader()
        self._held = HoldBack(pictures=moderator.valves.images == "allow")
        self._progress = Progress(self._held, self._clock())
        self._answer = GrowingAnswer(moderator.guard, moderator.policy, terms.context)
        self._unread: list[Body] = []
        self._check: asyncio.Task[Judged] | None = None
        self._reading: Reading | None = None
        self._last: tuple[Verdict, Decision] | None = None
        self._shown = False
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
            if self.ended:
                return self._after_end(event)
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

    def refuse_unmarked(self) -> Body:
        """The only event of an answer that came another way than it was sent."""
        self.begun = True
        return NO_EVENT if self.ended else self._withheld("another filter changed the way of this request")

    def _begin(self) -> None:
        self.begun = True
        task = asyncio.current_task()
        if task is not None:
            # The host says nothing when a reader leaves, but it ends what calls us.
            task.add_done_callback(self._left)

    async def _pass_on(self, event: Body) -> Body:
        choices = event.get("choices")
        if not choices or not isinstance(choices, list):
            return await self._without_choices(event)
        self._unread.append(event)
        if object_or_empty(choices[0]).get("finish_reason"):
            return await self._finish()
        if not self._terms.hold:
            return self._at_once()
        if self._check is None:
            if self._clock() < self._progress.due and len(self._unread) < _MOST_UNREAD:
                return NO_EVENT
            if (withheld := self._read()) is not None:
                return withheld
            if not self._progress.has_more() or self._clock() < self._progress.due:
                return NO_EVENT
            self._start(self._progress.reading())
        if self._shown and self._check is not None and not self._check.done():
            return NO_EVENT if len(self._unread) < _MOST_UNREAD else self._read() or NO_EVENT
        return await self._settled()

    def _at_once(self) -> Body:
        """Show what came, and judge it afterwards."""
        if (withheld := self._read()) is not None:
            return withheld
        shown = self._event(self._held.release_all())
        if self._check is not None and self._check.done():
            settled = self._settle(self._check.result())
            return settled if self.ended else shown
        if self._check is None and self._progress.has_more() and self._clock() >= self._progress.due:
            self._start(self._progress.reading())
        return shown

    async def _finish(self) -> Body:
        """Judge all of the answer, and show the rest of it."""
        self._whole = True
        if (withheld := self._read()) is not None:
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

    def _read(self) -> Body | None:
        """Read what came. Gives what is shown instead if a part of it may not be shown at all."""
        events, self._unread = self._unread, []
        for event in events:
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
        return self._settle(await self._check)

    def _settle(self, judged: Judged) -> Body:
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
            return self._event(released)
        review = Review(judged.verdict, decision, 0, True)
        return self._concluded(self._notices.withheld(review, self._held.text))

    def _event(self, released: list[Piece]) -> Body:
        if not released:
            return NO_EVENT
        chunks = list(chunks_of(released, self._reader))
        if self._preface:
            chunks.insert(0, text_chunk(self._reader.envelope, self._preface))
            self._preface = ""
        event = one_event(chunks)
        if event["choices"] and not self._shown:
            self._shown = True
            event = with_role(event)
        return event

    def _concluded(self, notice: str, problem: str | None = None) -> Body:
        """The last event of an answer that may not be shown, or not to its end."""
        self._end(problem)
        # After the finish reason there is nothing left to stop.
        self._stopping = self._terms.on_page and not self._whole
        envelope = self._reader.envelope
        if self._shown and self._terms.retracts:
            return retraction_chunk(envelope, notice)
        said = text_chunk(envelope, f"\n\n{notice}" if self._shown else notice)
        event = one_event([said, end_chunk(envelope, self._notices.finish_reason)])
        return event if self._shown else with_role(event)

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
        for _ in self._reader.pieces_of({**event, "choices": []}):
            pass
        figures = self._reader.figures
        return {**self._reader.envelope, "choices": [], **figures} if figures else NO_EVENT

    async def _without_choices(self, event: Body) -> Body:
        if event.get("error"):
            return await self._failed(event["error"])
        selected = event.get("selected_model_id")
        if isinstance(selected, str) and not is_text(selected):
            return {"selected_model_id": selected}
        if event.keys() == {"sources"} and not self._unread and not self._reader.envelope:
            # What Open WebUI itself found for the prompt, which was judged with it.
            return event
        if "choices" in event:
            self._unread.append(event)
        return NO_EVENT

    async def _failed(self, error: object) -> Body:
        """The upstream's error; its own words only if the guard clears them."""
        words = "\n".join(find({"error": error}).texts)
        self._end(f"the upstream failed: {words[:200]}")
        verdict = await self._moderator.guard.judge([Turn("assistant", words)])
        passes = self._moderator.policy.decide(verdict).passes
        return {"error": error if passes else {"message": "The model server failed."}}

    def _left(self, task: "asyncio.Task[None]") -> None:
        """The host has ended what called us."""
        if not self.ended:
            self._end("the reader left, or the model server ended the answer without a finish reason")
