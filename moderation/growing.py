"""One answer that grows, as a guard sees it: judged token by token where the endpoint can, else anew as a whole."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from moderation.conversation import Turn
from moderation.errors import StreamLost, TooLong
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.server import Server
from moderation.stream_verdict import answer_verdict
from moderation.stream_wire import as_messages, ending_with_user
from moderation.verdict import Severity, Verdict

# At this probability a flag on a fragment needs no second look.
_CERTAIN = 0.995


class Judged(NamedTuple):
    """What is known of an unfinished answer."""

    verdict: Verdict
    cleared: int
    """The character before which a passing verdict holds."""
    sure: bool
    """Whether a flag need not be confirmed on more text."""


class GrowingAnswer:
    """The answer to `context`. To be closed: a stream costs the endpoint memory."""

    def __init__(self, guard: Guard, policy: Policy, context: Sequence[Turn]) -> None:
        self._guard = guard
        self._policy = policy
        self._context = list(context)
        self._stream: _Stream | None = None
        self._asked = False

    async def judge(self, text: str, *, end: bool) -> Judged:
        """All of the answer so far; `end` where it is complete. May be cancelled, and called again with more text."""
        if not self._asked and await self._guard.streams():
            self._stream = _Stream(self._guard.endpoint, self._policy, self._context)
        self._asked = True
        if self._stream is not None:
            verdict = await self._guard.attempt(partial(self._stream.judge, text, end))
            # The two flagged tokens that the endpoint waits for are the second look.
            return Judged(verdict, len(text) if end else self._stream.cleared, sure=True)
        verdict = await self._guard.judge([*self._context, Turn("assistant", text)])
        certain = (verdict.probabilities or {}).get(Severity.UNSAFE, 0) >= _CERTAIN
        return Judged(verdict, len(text), certain)

    async def aclose(self) -> None:
        """Tell the endpoint that no more text comes."""
        if self._stream is not None:
            await self._stream.aclose()


class _Stream:
    """One stream at the endpoint, opened again with all text where that has lost it, or took no more."""

    def __init__(self, endpoint: Server, policy: Policy, context: list[Turn]) -> None:
        self._endpoint = endpoint
        self._policy = policy
        self._messages = as_messages(ending_with_user(context))
        self._key: str | None = None
        self._sent = ""
        self._last: asyncio.Task[Verdict] | None = None
        self._refused: Verdict | None = None
        self.cleared = 0

    async def judge(self, text: str, end: bool) -> Verdict:
        """Raises EndpointError."""
        if self._last is not None:
            await asyncio.wait({self._last})
        # Shielded: a request that is given up takes the stream with it.
        self._last = asyncio.create_task(self._judge(text, end))
        # Its error is told to nobody where nobody waits any more.
        self._last.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._last)

    async def aclose(self) -> None:
        if self._last is not None:
            await asyncio.wait({self._last})
        await self._begin_anew()

    async def _begin_anew(self) -> None:
        if self._key is not None:
            await self._endpoint.drop_stream(self._key)
        self._key, self._sent, self.cleared = None, "", 0

    async def _judge(self, text: str, end: bool) -> Verdict:
        if self._refused is not None:
            # A policy that lets everything pass reads on behind a refusal.
            self.cleared = len(text)
            return self._refused
        if not text.startswith(self._sent):
            # Another part of the answer went on: what stands after it is read anew.
            await self._begin_anew()
        reply = await self._send(text, end)
        verdict = answer_verdict(reply, self._policy.strictness)
        if verdict.reached:
            self.cleared = max(self.cleared, reply["cleared"][self._policy.strictness])
            if reply["violations"][self._policy.strictness] is not None:
                self._refused, self.cleared = verdict, len(text)
        return verdict

    async def _send(self, text: str, end: bool) -> dict[str, Any]:
        while True:
            try:
                return await self._send_once(text, end)
            except StreamLost:
                pass
            except TooLong:
                # Of what does not fit, the oldest turns matter least.
                if len(self._messages) == 1:
                    raise
                self._messages = self._messages[-(len(self._messages) // 2) :]
            self._key, self._sent = None, ""

    async def _send_once(self, text: str, end: bool) -> dict[str, Any]:
        if self._key is None:
            allowed = sorted(self._policy.allowed_categories)
            known = {"messages": self._messages, "allowed_categories": allowed}
        else:
            known = {"id": self._key, "offset": len(self._sent)}
        reply = await self._endpoint.stream({**known, "text": text[len(self._sent) :], "end": end})
        self._key, self._sent = reply.get("id"), text
        return reply
