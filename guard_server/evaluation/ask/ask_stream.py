"""Asks one Stream endpoint (`/v1/guard/stream`) for a verdict on a whole turn, and records where it flags an answer.

The endpoint's final verdict does not depend on how the text is split, so a turn is sent in one request.
"""

import asyncio
import time
from types import TracebackType
from typing import Self

from guard_server.evaluation.ask.results import REJECTIONS, Flag, Outcome, Result
from guard_server.evaluation.data.rows import Question
from moderation.conversation import kind_of
from moderation.endpoint.endpoint import Endpoint
from moderation.errors import EndpointError, TooLong
from moderation.policy import HARMFUL, Strictness
from moderation.stream.stream_schema import StreamReply
from moderation.stream.stream_wire import whole_turn, whole_verdict
from moderation.verdict import Verdict


class StreamAsker:
    """One of several concurrent askers. Arguments as for `GenAsker`."""

    def __init__(self, url: str, key: str, model: str, timeout: float, concurrency: int) -> None:
        self._endpoint = Endpoint(url, key, model, timeout)
        self._url = url
        self._model = model
        self._timeout = timeout
        self._concurrency = concurrency

    async def ask(self, question: Question) -> Result:
        """The result for one conversation, without refusals, which a Stream model does not report.

        Errors of the endpoint are part of the result and never raised.
        """
        conversation = question.conversation
        started, clock = time.time(), time.perf_counter()
        reply: StreamReply | None = None
        outcome: Outcome = "verdict"
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._endpoint.stream(whole_turn(conversation))
            verdict = whole_verdict(reply, conversation)
            if not verdict.reached:
                outcome = "unreadable"
        except TimeoutError:
            outcome, verdict = "time-out", Verdict.none(f"no verdict within {self._timeout:g} s from {self._url}")
        except EndpointError as error:
            rejected = isinstance(error, TooLong) or isinstance(error.__cause__, REJECTIONS)
            outcome, verdict = "rejected" if rejected else "error", Verdict.none(str(error)[:200])
        if kind_of(conversation) == "response":
            # An answer has a verdict at each token, but no probability as a whole.
            verdict = verdict.model_copy(update={"probabilities": None})
        return Result(
            key=question.key,
            endpoint=self._url,
            model=self._model,
            outcome=outcome,
            verdict=verdict,
            started=started,
            seconds=time.perf_counter() - clock,
            concurrency=self._concurrency,
            requests=1,
            # The endpoint counts the tokens of answers only, and generates none.
            prompt_tokens=0 if reply is None else reply.tokens,
            generated_tokens=0,
            refusal_asked=question.refusal,
            flags=_flags(reply),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        await self._endpoint.aclose()


def _flags(reply: StreamReply | None) -> dict[Strictness, Flag]:
    found = {} if reply is None else {strictness: reply.violations.under(strictness) for strictness in HARMFUL}
    return {name: Flag(token=one.token, character=one.character) for name, one in found.items() if one is not None}
