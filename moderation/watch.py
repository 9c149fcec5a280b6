"""One watcher per streamed answer: nothing is given out that the guard has not cleared.

One check is in flight at a time, over the whole answer so far; what arrives meanwhile waits for the next. A flag on an
unfinished answer freezes it: guards misfire on fragments (0.35 false positives with a quarter of an answer visible,
measured by OpenGuardrails), so it is confirmed on more text before the answer is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from moderation.channels import Piece, Reading
from moderation.conversation import Turn
from moderation.growing import GrowingAnswer, Judged
from moderation.guard import Guard
from moderation.holdback import HoldBack
from moderation.policy import Action, Decision, Policy
from moderation.verdict import Verdict

# Seconds from one check's start to the next: short at first, so that the reader soon has something to read, then as
# long as a reader bears. An answer of s seconds costs about s / 0.5 + 4 checks.
_FIRST_PAUSE = 0.06
_LONGEST_PAUSE = 0.5


class End(StrEnum):
    """How a watched answer ended."""

    COMPLETE = "complete"
    REFUSED = "refused"
    WITHHELD = "withheld"


class Watched(NamedTuple):
    """What became of an answer."""

    end: End
    verdict: Verdict
    """The last one: of the whole answer where it is complete."""
    decision: Decision


class Watcher:
    """Judges an answer while it grows.

    Args:
        guard: judges.
        policy: decides.
        context: the conversation that the answer answers, as it was sent to the model. Where it ends with the beginning
            of an answer, that is judged as part of it.
        emit: gets pieces that may be read: at each time one for each text that goes on, and payloads after them.
        cleared: completes when the prompt was cleared; nothing is emitted before.
        hold: False emits at once and judges afterwards; the caller then retracts.
        pictures: whether pictures inside a text may be given out.
    """

    def __init__(
        self,
        guard: Guard,
        policy: Policy,
        context: Sequence[Turn],
        emit: Callable[[list[Piece]], None],
        cleared: Awaitable[object],
        *,
        hold: bool = True,
        pictures: bool = True,
    ) -> None:
        self._policy = policy
        before = list(context)
        self._opening = before.pop().text if before and before[-1].role == "assistant" else ""
        self._answer = GrowingAnswer(guard, policy, before)
        self._emit = emit
        self._cleared = asyncio.ensure_future(cleared)
        self._hold = hold
        self._held = HoldBack(pictures=pictures)
        self._arrived = asyncio.Event()
        self.checks = 0
        self.last: tuple[Verdict, Decision] | None = None
        """What the last check said, also where the answer did not come to its end."""

    @property
    def text(self) -> str:
        """All that the upstream has sent, as the guard reads it."""
        return self._held.text

    @property
    def media(self) -> list[str]:
        """Kinds of pictures and sound inside the text, which nobody can judge."""
        return self._held.media

    async def watch(self, answer: AsyncIterator[Piece]) -> Watched:
        """Read `answer` to its end, or until it is refused.

        Whatever `answer` raises is raised again, after what came before was judged and emitted.
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
        judged, pause, due, frozen = 0, _FIRST_PAUSE, loop.time(), False
        while True:
            reading = await self._next_reading(reader, judged, due)
            started = loop.time()
            due, pause = started + pause, min(2 * pause, _LONGEST_PAUSE)
            judged_now = await self._check(reading, reader)
            # A guard that is slow, or busy with others, is left as long in peace as it took.
            due = max(due, loop.time() + min(loop.time() - started, _LONGEST_PAUSE))
            if judged_now is None:
                continue
            verdict, cleared, sure = judged_now
            decision = self._policy.decide(verdict)
            self.last = verdict, decision
            await asyncio.shield(self._cleared)
            cleared = min(max(0, cleared - len(self._opening)), len(reading.text))
            finished = self._is_whole(reading, reader) and cleared == len(reading.text)
            if decision.passes:
                frozen = False
                in_whole = finished or (judged > 0 and cleared == len(reading.text))
                self._emit(self._held.release(reading, cleared, words=not in_whole, end=finished))
                if finished:
                    # An upstream that failed is no finished answer: its error goes to the caller.
                    await reader
                    return Watched(End.COMPLETE, verdict, decision)
            elif decision.action is Action.WITHHOLD:
                return Watched(End.WITHHELD, verdict, decision)
            elif frozen or finished or sure:
                return Watched(End.REFUSED, verdict, decision)
            else:
                frozen = True
                due = loop.time() + _LONGEST_PAUSE
            judged = reading.arrived

    async def _next_reading(self, reader: asyncio.Task[None], judged: int, due: float) -> Reading:
        """What to judge next, once there is something new and its time has come.

        Args:
            judged: characters that the last reading took account of.
            due: when, by the loop's clock.
        """
        loop = asyncio.get_running_loop()
        while not reader.done():
            # The first few characters need not be a word: the reader waits for them.
            arrived = self._held.finished_words() if judged else self._held.arrived
            if arrived > judged and loop.time() >= due:
                return self._held.reading(words=judged > 0)
            self._arrived.clear()
            wait = due - loop.time() if arrived > judged else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
        return self._held.reading(words=False)

    def _is_whole(self, reading: Reading, reader: asyncio.Task[None]) -> bool:
        return reader.done() and reading.arrived == self._held.arrived

    async def _check(self, reading: Reading, reader: asyncio.Task[None]) -> Judged | None:
        """What is known of the answer as it is read; None if the answer came to a later end meanwhile.

        A check of the whole is due then, and its reader need not wait for two.
        """
        self.checks += 1
        end = self._is_whole(reading, reader)
        check = asyncio.create_task(self._answer.judge(self._opening + reading.text, end=end))
        try:
            await asyncio.wait({check, reader}, return_when=asyncio.FIRST_COMPLETED)
            if not check.done() and reading.arrived < self._held.arrived:
                return None
            return await check
        finally:
            check.cancel()
