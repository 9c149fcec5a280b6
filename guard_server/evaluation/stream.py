"""Asks one Stream endpoint (`/v1/guard/stream`) for a verdict on a whole turn, and notes where it flags an answer.

The endpoint's final verdict does not depend on how the text is cut, so a turn is sent in one request.
"""

import asyncio
import time
from types import TracebackType
from typing import Literal, Self

from pydantic import BaseModel, ValidationError

from guard_server.evaluation.results import REJECTIONS, Flag, Outcome, Result
from guard_server.evaluation.rows import Question
from moderation.conversation import kind_of
from moderation.endpoint import Endpoint
from moderation.errors import EndpointError, TooLong
from moderation.policy import Strictness
from moderation.stream_wire import whole_turn, whole_verdict
from moderation.verdict import Verdict


class _Reply(BaseModel):
    """What is used of the reply to a whole turn, beside its verdict."""

    tokens: int
    violations: dict[Strictness, Flag | None]
    final: Literal[True]


class StreamAsker:
    """One of those that ask at the same time. Arguments as of `GenAsker`."""

    def __init__(self, url: str, key: str, model: str, timeout: float, concurrency: int) -> None:
        self._endpoint = Endpoint(url, key, model, timeout)
        self._url = url
        self._model = model
        self._timeout = timeout
        self._concurrency = concurrency

    async def ask(self, question: Question) -> Result:
        """What becomes of one conversation. Never raises for what the endpoint does, which has no word for refusals."""
        conversation = question.conversation
        started, clock = time.time(), time.perf_counter()
        reply: _Reply | None = None
        outcome: Outcome = "verdict"
        try:
            async with asyncio.timeout(self._timeout):
                said = await self._endpoint.stream(whole_turn(conversation))
            reply, verdict = _Reply.model_validate(said), whole_verdict(said, conversation)
            if not verdict.reached:
                outcome = "unreadable"
        except TimeoutError:
            outcome, verdict = "time-out", Verdict.none(f"no verdict within {self._timeout:g} s from {self._url}")
        except ValidationError as error:
            problem = f"not the reply of a stream endpoint: {error.errors()[0]['msg']}"
            outcome, verdict = "unreadable", Verdict.none(problem)
        except EndpointError as error:
            rejected = isinstance(error, TooLong) or isinstance(error.__cause__, REJECTIONS)
            outcome, verdict = "rejected" if rejected else "error", Verdict.none(str(error)[:200])
        if kind_of(conversation) == "response":
            # An answer has a verdict at every token, and so no probability of its own.
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
            flags={} if reply is None else {name: flag for name, flag in reply.violations.items() if flag},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        await self._endpoint.aclose()
