"""Asks one Gen endpoint for one verdict, as the filter would, and takes note of what that cost."""

import time
from types import TracebackType
from typing import Any, Self

from guard_server.evaluation.results import REJECTIONS, Outcome, Result
from guard_server.evaluation.rows import Question
from moderation.completion_wire import CompletionWire
from moderation.conversation import Conversation, digest
from moderation.endpoint import Endpoint
from moderation.errors import EndpointError
from moderation.guard import Guard
from moderation.replies import GuardCompletion
from moderation.server_facts import ServerFacts, Style
from moderation.verdict import Verdict


class _CountingWire(CompletionWire):
    """Counts requests for a verdict, and their tokens."""

    requests = prompt_tokens = generated_tokens = 0

    async def complete(self, *args: Any, **options: Any) -> GuardCompletion:
        self.requests += 1
        reply = await super().complete(*args, **options)
        if reply.usage:
            self.prompt_tokens += reply.usage.prompt_tokens
            self.generated_tokens += reply.usage.completion_tokens
        return reply


class _Meter(Endpoint):
    """An endpoint that counts; for one conversation at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The lean route, whose verdicts are the same, tells no tokens.
        self.style = Style.ONE_TOKEN
        self.reset(refusals=False)

    def reset(self, *, refusals: bool) -> None:
        self._refusals = refusals
        self._completions = self.cost = _CountingWire(self._client, self.base_url)
        self.unreadable = self.rejected = False

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        try:
            verdict = await super().ask(conversation, facts)
        except EndpointError as error:
            self.rejected |= isinstance(error.__cause__, REJECTIONS)
            raise
        self.unreadable |= not verdict.reached
        return verdict


class GenAsker:
    """One of those that ask at the same time; each has a connection of its own and waits for every verdict.

    Args:
        url, key, model: as `Endpoint` takes them.
        timeout: seconds for one verdict, retries included.
        concurrency: how many ask at the same time, for the record.
    """

    def __init__(self, url: str, key: str, model: str, timeout: float, concurrency: int) -> None:
        self._endpoint = _Meter(url, key, model, timeout)
        self._timeout = timeout
        self._concurrency = concurrency
        self._url = url
        self._model = model

    async def ask(self, question: Question) -> Result:
        """What becomes of one conversation. Never raises for what the endpoint does."""
        meter = self._endpoint
        meter.reset(refusals=question.refusal)
        # A guard of its own for each: nothing is remembered, and no circuit is broken by the silence before.
        guard = Guard(meter, timeout=self._timeout, cache_size=1)
        started, clock = time.time(), time.perf_counter()
        verdict = await guard.judge(question.conversation)
        seconds = time.perf_counter() - clock
        return Result(
            key=digest(question.conversation).hex(),
            endpoint=self._url,
            model=self._model,
            outcome=self._outcome(verdict, seconds),
            verdict=verdict,
            started=started,
            seconds=seconds,
            concurrency=self._concurrency,
            requests=meter.cost.requests,
            prompt_tokens=meter.cost.prompt_tokens,
            generated_tokens=meter.cost.generated_tokens,
            refusal_asked=question.refusal,
        )

    def _outcome(self, verdict: Verdict, seconds: float) -> Outcome:
        if verdict.reached:
            return "verdict"
        if seconds >= self._timeout:
            return "time-out"
        if self._endpoint.rejected:
            return "rejected"
        return "unreadable" if self._endpoint.unreadable else "error"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        await self._endpoint.aclose()
