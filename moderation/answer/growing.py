"""Judges a streamed answer: token by token if the endpoint supports it, else again as a whole at each check."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from moderation.asker import asking_later
from moderation.context import Context
from moderation.conversation import Turn
from moderation.errors import StreamLost, TooLong
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.probe import with_probe
from moderation.readings.finished_blocks import FinishedBlocks
from moderation.stream.stream_schema import StreamReply, StreamRequest, answer_verdict
from moderation.stream.stream_wire import opening_turns
from moderation.verdict import Severity, Verdict

# With at least this probability, a flag on a fragment needs no confirmation.
_CERTAIN = 0.995


class Judged(NamedTuple):
    """The result of one check of an unfinished answer."""

    verdict: Verdict
    cleared: int
    """Number of leading characters that a passing verdict clears."""
    sure: bool
    """Whether a flag counts without confirmation on more text."""


class GrowingAnswer:
    """An answer. Call `aclose` at the end: an open stream takes memory at the endpoint.

    Args:
        guard: judges.
        policy: decides.
        context: the conversation before the answer. If it ends with an assistant turn, the answer continues that turn,
            and both are judged as one.
    """

    def __init__(self, guard: Guard, policy: Policy, context: Sequence[Turn]) -> None:
        self._guard = guard
        self._policy = policy
        self._context = list(context)
        begun = bool(context) and context[-1].role == "assistant"
        self._opening = self._context.pop().text if begun else ""
        self._read_context: Context | None = None
        self._finished = FinishedBlocks()
        self._stream: _Stream | None = None
        self._asked = False
        self._judged = False

    async def judge(self, text: str, *, end: bool) -> Judged:
        """Judge all of the answer so far; `end` if it is complete. May be cancelled and called again with more text."""
        judged = await self._judge(self._opening + text, end)
        return judged._replace(cleared=max(0, judged.cleared - len(self._opening)))

    async def _judge(self, text: str, end: bool) -> Judged:
        if not self._asked and await self._guard.streams():
            self._stream = _Stream(self._guard, self._policy, self._context)
        self._asked = True
        if self._stream is not None:
            found = await self._guard.attempt(partial(self._stream.judge, text, end))
            verdict = with_probe(found, "assistant", text)
            # The endpoint itself waits for a second flagged token, so its flag is already confirmed.
            return Judged(verdict, len(text) if end else self._stream.cleared, sure=True)
        if self._read_context is None:
            self._read_context = await self._guard.context(self._context)
        # Later checks yield to first checks: their reader already has some text to read.
        asking_later(self._judged)
        self._judged = True
        verdict = await self._guard.judge_turn(
            self._read_context, "assistant", await self._guard.read(text, self._finished)
        )
        certain = (verdict.probabilities or {}).get(Severity.UNSAFE, 0) >= _CERTAIN
        return Judged(verdict, len(text), certain)

    async def aclose(self) -> None:
        """Close the stream at the endpoint, if there is one."""
        if self._stream is not None:
            await self._stream.aclose()


class _Stream:
    """One stream at the endpoint. Reopened with all text if the endpoint lost it, or if its context is full."""

    def __init__(self, guard: Guard, policy: Policy, context: list[Turn]) -> None:
        self._guard = guard
        self._policy = policy
        self._messages = opening_turns(context)
        self._key: str | None = None
        self._sent = ""
        self._last: asyncio.Task[Verdict] | None = None
        self._refused: Verdict | None = None
        self.cleared = 0

    async def judge(self, text: str, end: bool) -> Verdict:
        """Raises EndpointError."""
        if self._last is not None:
            await asyncio.wait({self._last})
        # Shielded: to cancel the request would lose the stream.
        self._last = asyncio.create_task(self._judge(text, end))
        # Marks an error as retrieved: nobody may be waiting for it any more.
        self._last.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._last)

    async def aclose(self) -> None:
        if self._last is not None:
            await asyncio.wait({self._last})
        await self._begin_anew()

    async def _begin_anew(self) -> None:
        if self._key is not None:
            await self._guard.drop_stream(self._key)
        self._key, self._sent, self.cleared = None, "", 0

    async def _judge(self, text: str, end: bool) -> Verdict:
        if self._refused is not None:
            # In monitor mode the answer goes on after a refusal.
            self.cleared = len(text)
            return self._refused
        if not text.startswith(self._sent):
            # Text was added to a channel before the last one, so the stream starts again.
            await self._begin_anew()
        reply = await self._send(text, end)
        verdict = answer_verdict(reply, self._policy.strictness)
        if reply is not None:
            self.cleared = max(self.cleared, reply.cleared.under(self._policy.strictness))
            if reply.violations.under(self._policy.strictness) is not None:
                self._refused, self.cleared = verdict, len(text)
        return verdict

    async def _send(self, text: str, end: bool) -> StreamReply | None:
        while True:
            try:
                return await self._send_once(text, end)
            except StreamLost:
                pass
            except TooLong:
                # Drop the oldest half of the context.
                if len(self._messages) == 1:
                    raise
                self._messages = self._messages[-(len(self._messages) // 2) :]
            self._key, self._sent = None, ""

    async def _send_once(self, text: str, end: bool) -> StreamReply | None:
        more = text[len(self._sent) :]
        if self._key is None:
            allowed = sorted(self._policy.allowed_categories)
            request = StreamRequest(messages=self._messages, allowed_categories=allowed, text=more, end=end)
        else:
            request = StreamRequest(id=self._key, offset=len(self._sent), text=more, end=end)
        reply = await self._guard.send_stream(request)
        # A reply that cannot be read says nothing of what arrived: all text is sent again.
        self._key, self._sent = (None, "") if reply is None else (reply.id, text)
        return reply
