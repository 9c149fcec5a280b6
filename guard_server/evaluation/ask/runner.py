"""Asks for all rows that have no result yet, concurrently."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Protocol, Self

from guard_server.errors import GuardGone
from guard_server.evaluation.ask.ask_gen import GenAsker
from guard_server.evaluation.ask.ask_stream import StreamAsker
from guard_server.evaluation.ask.results import Outcome, Result, Results
from guard_server.evaluation.data.rows import Question, Row
from moderation.endpoint.endpoint import Endpoint
from moderation.errors import EndpointError

# After this many errors in a row the guard counts as gone.
_GONE_AFTER = 20


@dataclass(frozen=True)
class Target:
    """The guard to ask, and how to ask it."""

    url: str
    key: str
    model: str
    """A name in the endpoint's list, or "auto"."""
    timeout: float
    """Seconds for one verdict, retries included."""
    concurrency: int
    kind: Literal["gen", "stream"] = "gen"

    def asker(self) -> "GuardAsker":
        arguments = (self.url, self.key, self.model, self.timeout, self.concurrency)
        return StreamAsker(*arguments) if self.kind == "stream" else GenAsker(*arguments)


class GuardAsker(Protocol):
    """One of several concurrent askers."""

    async def ask(self, question: Question) -> Result: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


async def found(target: Target) -> Target:
    """The target with its kind, and with the model's name in place of "auto".

    Raises:
        GuardGone: the guard does not answer, or refuses the request.
    """
    async with Endpoint(target.url, target.key, target.model, target.timeout) as endpoint:
        try:
            await endpoint.learn()
        except EndpointError as error:
            raise GuardGone(
                str(error), "Start the guard, and check --guard-url, --guard-key and --model; the address ends in /v1."
            ) from error
        return replace(target, model=endpoint.model or target.model, kind="stream" if endpoint.streams else "gen")


def left(rows: Iterable[Row], results: Results, again: bool) -> dict[str, Question]:
    """The questions to ask, by key, each conversation once.

    Args:
        rows: all of them.
        results: existing results. A row with an error is always asked again, since nothing was judged.
        again: whether to ask again for all other rows without a verdict, too.
    """
    final: tuple[Outcome, ...] = ("verdict",) if again else ("verdict", "unreadable", "time-out", "rejected")
    todo: dict[str, Question] = {}
    for row in rows:
        known, question = results.known.get(row.key), row.question
        done = known is not None and known.outcome in final and (known.refusal_asked or not question.refusal)
        # Of rows with the same conversation, perhaps only one has a refusal label: its question wins.
        if not done and (question.refusal or row.key not in todo):
            todo[row.key] = question
    return todo


async def run(target: Target, todo: Sequence[Question], results: Results, tick: Callable[[Result], None]) -> None:
    """Ask for all of `todo`. Each asker writes a result before it asks for the next.

    Args:
        tick: called with each result.

    Raises:
        GuardGone: the guard does not answer any more. All results so far are kept.
    """
    waiting = iter(todo)
    errors_in_a_row = 0

    async def work(asker: GuardAsker) -> None:
        nonlocal errors_in_a_row
        for question in waiting:
            result = await asker.ask(question)
            results.add(result)
            tick(result)
            errors_in_a_row = errors_in_a_row + 1 if result.outcome == "error" else 0
            if errors_in_a_row >= _GONE_AFTER:
                raise GuardGone(
                    f"{errors_in_a_row} errors in a row, the last one: {result.verdict.problem}",
                    "Repair the guard, then run the same command again: existing verdicts are kept.",
                )

    async with AsyncExitStack() as stack:
        askers = [target.asker() for _ in range(min(target.concurrency, len(todo)))]
        for asker in askers:
            await stack.enter_async_context(asker)
        try:
            async with asyncio.TaskGroup() as group:
                for asker in askers:
                    group.create_task(work(asker))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
