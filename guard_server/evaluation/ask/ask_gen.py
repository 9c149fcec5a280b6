"""Asks one Gen endpoint for one verdict, like the filter does, and records the cost."""

import time
from types import TracebackType
from typing import Self

from guard_server.evaluation.ask.results import REJECTIONS, Outcome, Result
from guard_server.evaluation.data.rows import Question
from moderation.conversation import Conversation
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import ServerFacts, Style
from moderation.errors import EndpointError
from moderation.guard import Guard
from moderation.verdict import Verdict


class _NotingEndpoint(Endpoint):
    """An endpoint that records how it failed. For one conversation at a time."""

    unreadable = rejected = False

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        try:
            verdict = await super().ask(conversation, facts)
        except EndpointError as error:
            self.rejected |= isinstance(error.__cause__, REJECTIONS)
            raise
        self.unreadable |= not verdict.reached
        return verdict


class GenAsker:
    """One of several concurrent askers. Each has its own connection and waits for each verdict.

    Args:
        url, key, model: as for `Endpoint`.
        timeout: seconds for one verdict, retries included.
        concurrency: number of concurrent askers, recorded in the results.
    """

    def __init__(self, url: str, key: str, model: str, timeout: float, concurrency: int) -> None:
        self._endpoint = _NotingEndpoint(url, key, model, timeout)
        # Not the lean route: it gives the same verdicts, but does not report tokens.
        self._endpoint.style = Style.ONE_TOKEN
        self._timeout = timeout
        self._concurrency = concurrency
        self._url = url
        self._model = model

    async def ask(self, question: Question) -> Result:
        """The result for one conversation. Errors of the endpoint are part of the result and never raised."""
        endpoint = self._endpoint
        endpoint.refusals, endpoint.unreadable, endpoint.rejected = question.refusal, False, False
        before = endpoint.cost
        # A new guard for each conversation: no cached verdicts, and no circuit breaker opened by earlier time-outs.
        guard = Guard(endpoint, timeout=self._timeout, cache_size=1, two_readings=question.two_readings)
        started, clock = time.time(), time.perf_counter()
        verdict = await guard.judge(question.conversation)
        seconds = time.perf_counter() - clock
        return Result(
            key=question.key,
            endpoint=self._url,
            model=self._model,
            outcome=self._outcome(verdict, seconds),
            verdict=verdict,
            started=started,
            seconds=seconds,
            concurrency=self._concurrency,
            requests=endpoint.cost.requests - before.requests,
            prompt_tokens=endpoint.cost.prompt_tokens - before.prompt_tokens,
            generated_tokens=endpoint.cost.generated_tokens - before.generated_tokens,
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
