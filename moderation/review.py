"""Verdicts for a whole history: each message is judged in the context of the earlier messages that are not refused.

A refused turn is replaced before it becomes context, so that it cannot taint the turns after it. Messages are judged at
the same time, newest first; if a refusal changes the context of a later refused message, that one is judged again.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from moderation.context import NO_CONTEXT, Context, TurnReading
from moderation.conversation import Role
from moderation.guard import Guard
from moderation.notices.notice import Notices
from moderation.policy import Action, Decision, Policy
from moderation.verdict import Verdict, worst

# Maximum of concurrent judgements of old messages, so that one long history does not delay all other users.
_AT_A_TIME = 8
# After so many messages, other tasks on the event loop can run.
_MESSAGES_AT_ONCE = 100


class Message(NamedTuple):
    """One message of a chat, as text."""

    role: Role
    text: str
    asides: tuple[str, ...] = ()
    """Further texts of the message, judged in the same context but not part of the context: reasoning, tool calls."""


class Review(NamedTuple):
    """The result for one message."""

    verdict: Verdict
    decision: Decision
    milliseconds: float
    fresh: bool
    """Whether this was judged now and not cached."""

    @property
    def is_refused(self) -> bool:
        return self.decision.action is Action.REFUSE


class _Read(NamedTuple):
    """One message as the guard reads it."""

    role: Role
    judged: list[TurnReading]
    """Its text and its asides, without empty ones."""
    text: TurnReading | None
    """None for a message without text."""
    settled: bool
    """Whether there is nothing to judge: it is empty, or one of our own notices."""


class _Judged(NamedTuple):
    """The verdicts on one message in this review."""

    key: bytes
    """Key of the context in which it was judged."""
    verdict: Verdict
    milliseconds: float


class ChatReview:
    """The reviews of one chat's messages.

    Args:
        messages: oldest first.
        guard: judges.
        policy: decides.
        notices: what replaces a refused message, and what is a notice already.
        language: that the reader set, if it is known.
    """

    def __init__(
        self, messages: Sequence[Message], guard: Guard, policy: Policy, notices: Notices, language: str | None = None
    ) -> None:
        self._messages = messages
        self._guard = guard
        self._policy = policy
        self._notices = notices
        self._language = language
        self._read: list[_Read] = []
        self._judged: dict[int, _Judged] = {}
        self._reviews: list[Review | None] = [None] * len(messages)

    async def cached(self) -> list[Review | None]:
        """The result of `review` from cached verdicts only; None also for messages without one."""
        await self._walk()
        return list(self._reviews)

    async def review(self, within: float) -> list[Review | None]:
        """A review of each message, in order; None for our own notices and for messages without text.

        Args:
            within: seconds for all messages; a message that is not judged by then gets a verdict without severity.
        """
        deadline = time.monotonic() + within
        while todo := await self._walk():
            await self._judge(todo, deadline, within)
            judged = [(index, self._found(index, context)) for index, context in todo]
            for index, found in judged:
                self._reviews[index] = found
            if not any(found and found.is_refused for _, found in judged):
                break
        return list(self._reviews)

    async def _walk(self) -> list[tuple[int, Context]]:
        """Review all messages that have a verdict. Returns the others, each with its context."""
        if len(self._read) < len(self._messages):
            self._read = await self._read_all()
        todo, context = [], NO_CONTEXT
        for index, message in enumerate(self._read):
            if index % _MESSAGES_AT_ONCE == _MESSAGES_AT_ONCE - 1:
                await asyncio.sleep(0)
            found = None if message.settled else self._found(index, context)
            if not message.settled and (found is None or self._is_stale(index, context, found)):
                todo.append((index, context))
            self._reviews[index] = found
            if found is not None and found.is_refused:
                notice = self._notices.removed(message.role, self._messages[index].text, self._language)
                context = context.then(message.role, await self._guard.read(notice))
            elif message.text:
                context = context.then(message.role, message.text)
        return todo

    def _found(self, index: int, context: Context) -> Review | None:
        """The review of a message that was judged now or has a cached verdict; else None."""
        message, judged = self._read[index], self._judged.get(index)
        if judged is not None:
            review = Review(judged.verdict, self._policy.decide(judged.verdict), judged.milliseconds, True)
            if judged.key != context.key and judged.verdict.reached and review.decision.passes:
                # A message that passes after a refused turn passes without it, too.
                for reading in message.judged:
                    self._guard.add_to_cache(context, message.role, reading, judged.verdict)
            return review
        cached = []
        for reading in message.judged:
            verdict = self._guard.cached(context, message.role, reading)
            if verdict is None:
                return None
            cached.append(verdict)
        verdict = worst(cached)
        return Review(verdict, self._policy.decide(verdict), 0, False)

    def _is_stale(self, index: int, context: Context, found: Review) -> bool:
        """Whether a message was refused in a context from which a turn was refused later."""
        judged = self._judged.get(index)
        return judged is not None and judged.key != context.key and found.is_refused

    async def _judge(self, todo: list[tuple[int, Context]], deadline: float, within: float) -> None:
        """Judge messages, newest first, until the time is over."""
        started, slots = time.monotonic(), asyncio.Semaphore(_AT_A_TIME)
        tasks = {
            index: (context, asyncio.create_task(self._judge_message(index, context, slots)))
            for index, context in reversed(todo)
        }
        try:
            await asyncio.wait([task for _, task in tasks.values()], timeout=max(0, deadline - started))
        finally:
            for _, task in tasks.values():
                task.cancel()
        took = round((time.monotonic() - started) * 1000, 1)
        for index, (context, task) in tasks.items():
            if task.done() and not task.cancelled():
                verdict, milliseconds = task.result()
                self._judged[index] = _Judged(context.key, verdict, milliseconds)
            elif index in self._judged:
                # It was refused in another context, and there is no time to judge it again.
                self._judged[index] = self._judged[index]._replace(key=context.key)
            else:
                self._judged[index] = _Judged(context.key, Verdict.none(f"not judged within {within:g} s"), took)

    async def _judge_message(self, index: int, context: Context, slots: asyncio.Semaphore) -> tuple[Verdict, float]:
        message, started = self._read[index], time.monotonic()
        async with slots:
            verdicts = await asyncio.gather(
                *(self._guard.judge_turn(context, message.role, reading) for reading in message.judged)
            )
        return worst(list(verdicts)), round((time.monotonic() - started) * 1000, 1)

    async def _read_all(self) -> list[_Read]:
        found = []
        for number, (role, text, asides) in enumerate(self._messages):
            own = await self._guard.read(text) if text.strip() else None
            others = [await self._guard.read(aside) for aside in asides if aside.strip()]
            settled = not others and (own is None or self._notices.recognises(text))
            found.append(_Read(role, [*([own] if own else []), *others], own, settled))
            if number % _MESSAGES_AT_ONCE == _MESSAGES_AT_ONCE - 1:
                await asyncio.sleep(0)
        return found
