"""One watcher per streamed answer: it emits only text that the guard has cleared.

One check is in flight at a time, over the whole answer so far. Text that arrives meanwhile waits for the next check.
A flag on an unfinished answer freezes it, and is confirmed on more text before the answer is refused, because guards
have many false positives on fragments (a rate of 0.35 with a quarter of an answer visible, measured by
OpenGuardrails).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

from moderation.answer.channels import Piece, Reading
from moderation.answer.growing import GrowingAnswer, Judged
from moderation.answer.holdback import HoldBack
from moderation.answer.pauses import in_parts
from moderation.answer.progress import AnswerProgress, End
from moderation.conversation import Turn
from moderation.guard import Guard
from moderation.policy import Decision, Policy
from moderation.verdict import Verdict


class Watched(NamedTuple):
    """The result of watching an answer."""

    end: End
    verdict: Verdict
    """The last verdict; of the whole answer if that is complete."""
    decision: Decision


class Watcher:
    """Judges an answer while it is streamed.

    Args:
        guard: judges.
        policy: decides.
        context: the conversation before the answer, as it was sent to the model.
        emit: called with cleared pieces: at most one per channel and check, then payloads, in several calls if many.
        cleared: completes when the prompt is cleared; nothing is emitted before.
        hold: False emits at once and judges afterwards; the caller then retracts a refused answer.
        pictures: whether pictures inside a text may be emitted.
    """

    def __init__(
        self,
        guard: Guard,
        policy: Policy,
        context: Sequence[Turn],
        emit: Callable[[Sequence[Piece]], None],
        cleared: Awaitable[object],
        *,
        hold: bool = True,
        pictures: bool = True,
    ) -> None:
        self._policy = policy
        self._answer = GrowingAnswer(guard, policy, context)
        self._emit = emit
        self._cleared = asyncio.ensure_future(cleared)
        self._hold = hold
        self._held = HoldBack(pictures=pictures)
        self._arrived = asyncio.Event()
        self.checks = 0
        self.last: tuple[Verdict, Decision] | None = None
        """The result of the last check, also if the answer was never completed."""

    @property
    def text(self) -> str:
        """All text that the upstream has sent, as the guard reads it."""
        return self._held.text

    @property
    def media(self) -> list[str]:
        """Kinds of pictures and sound inside the text, which the guard cannot judge."""
        return self._held.media

    async def watch(self, answer: AsyncIterator[Piece]) -> Watched:
        """Read `answer` to its end, or until it is refused.

        If `answer` raises, the text before that is first judged and emitted; then the error is raised again.
        """
        reader = asyncio.create_task(self._read(answer))
        try:
            return await self._judge_along(reader)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await self._answer.aclose()

    async def _read(self, answer: AsyncIterator[Piece]) -> None:
        try:
            async for piece in answer:
                self._held.feed(piece)
                if not self._hold:
                    await asyncio.shield(self._cleared)
                    self._emit(self._held.release_all())
                self._arrived.set()
        finally:
            self._arrived.set()

    async def _judge_along(self, reader: asyncio.Task[None]) -> Watched:
        loop = asyncio.get_running_loop()
        progress = AnswerProgress(self._held, loop.time())
        while True:
            reading = await self._next_reading(reader, progress)
            progress.started(loop.time())
            judged = await self._check(reading, reader)
            progress.ended(loop.time())
            if judged is None:
                continue
            decision = self._policy.decide(judged.verdict)
            self.last = judged.verdict, decision
            await asyncio.shield(self._cleared)
            whole = self._is_whole(reading, reader)
            released, end = progress.outcome(judged, decision, reading, whole=whole, now=loop.time())
            async for part in in_parts(released):
                self._emit(part)
            if end is End.COMPLETE:
                # Raises the upstream's error: an answer that failed is not complete.
                await reader
            if end is not None:
                return Watched(end, judged.verdict, decision)

    async def _next_reading(self, reader: asyncio.Task[None], progress: AnswerProgress) -> Reading:
        """Wait until there is new text and the next check is due. Returns what to judge."""
        loop = asyncio.get_running_loop()
        while not reader.done():
            if progress.has_more():
                wait = progress.due - loop.time()
                if wait <= 0:
                    return progress.reading()
                # Sleep until then, without waking up for each piece.
                await asyncio.wait({reader}, timeout=wait)
            else:
                self._arrived.clear()
                await self._arrived.wait()
        return self._held.reading(words=False)

    def _is_whole(self, reading: Reading, reader: asyncio.Task[None]) -> bool:
        return reader.done() and reading.arrived == self._held.arrived

    async def _check(self, reading: Reading, reader: asyncio.Task[None]) -> Judged | None:
        """Judge a reading. None if the answer was completed with more text meanwhile.

        The whole answer must then be checked anyway, so the reader need not wait for this check too.
        """
        self.checks += 1
        end = self._is_whole(reading, reader)
        check = asyncio.create_task(self._answer.judge(reading.text, end=end))
        try:
            await asyncio.wait({check, reader}, return_when=asyncio.FIRST_COMPLETED)
            if not check.done() and reading.arrived < self._held.arrived:
                return None
            return await check
        finally:
            check.cancel()
