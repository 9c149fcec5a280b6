"""The cost of a chat's newest turn for the Pipelines server, by the chat's language and length."""

import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.host_calls import PROBE, HostCalls
from benchmarks.long_chats import Chat, Message, new_text
from tests.stands.processes.pipelines_server import FILTER

_LEAST_ROUNDS = 2
# Seconds. A length that takes longer is measured in fewer rounds.
_PATIENCE = 6.0
# Smaller values, of short chats, are measurement noise.
_LEAST_MS = 0.1


class Cost(NamedTuple):
    """The cost of one turn: medians in milliseconds, minus the server's own cost for the same body."""

    filter_cpu: float
    """Processor time of inlet and outlet."""
    guarded_cpu: float
    """Processor time of a guarded request, with all checks of its answer."""
    server_cpu: float
    """The server's own processor time, which was subtracted from the filter's."""
    block: float
    """Longest block of the event loop during inlet and outlet, minus that of an empty filter."""
    tokenize: float
    """Requests to the guard to count tokens, for a guarded request."""


async def newest_turn(calls: HostCalls, chat: Chat, language: str, turns: int, rounds: int) -> Cost:
    """The cost of the newest turn in a chat of `turns` turns. The verdicts on all others are cached."""

    def newest() -> list[Message]:
        return chat.with_newest(turns)

    def answer() -> str:
        return new_text(language)

    def ours() -> Awaitable[None]:
        return calls.filtered(newest(), FILTER, answer=answer())

    def empty() -> Awaitable[None]:
        return calls.filtered(newest(), PROBE, answer=answer())

    # Both plugins judge the earlier turns once, so that their verdicts are cached.
    await calls.filtered(newest(), FILTER, answer=answer())
    await calls.guarded(newest())
    filter_cpu, server_cpu = await _compared(lambda: calls.cpu_ms(ours()), lambda: calls.cpu_ms(empty()), rounds)
    block, server_block = await _compared(lambda: calls.block_ms(ours()), lambda: calls.block_ms(empty()), rounds)
    tokenize: list[int] = []

    async def guarded() -> float:
        await calls.guard_counts()
        took = await calls.cpu_ms(calls.guarded(newest()))
        tokenize.append((await calls.guard_counts())["tokenize"])
        return took

    guarded_cpu, relay_cpu = await _compared(guarded, lambda: calls.cpu_ms(calls.relayed(newest())), rounds)
    return Cost(
        filter_cpu=max(filter_cpu - server_cpu, _LEAST_MS),
        guarded_cpu=max(guarded_cpu - relay_cpu, _LEAST_MS),
        server_cpu=server_cpu,
        block=max(block - server_block, 0.0),
        tokenize=statistics.median(tokenize),
    )


async def _compared(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]], rounds: int
) -> tuple[float, float]:
    """Medians of both, measured alternately."""
    found: list[tuple[float, float]] = []
    started = time.monotonic()
    while len(found) < rounds and (len(found) < _LEAST_ROUNDS or time.monotonic() - started < _PATIENCE):
        found.append((await ours(), await theirs()))
    first, second = zip(*found, strict=True)
    return statistics.median(first), statistics.median(second)


async def cold_seconds(calls: HostCalls, turns: int, number: int) -> float:
    """Seconds that the inlet takes for a new chat of `turns` turns."""
    messages: list[Message] = Chat("English", number).with_newest(turns)
    started = time.monotonic()
    await calls.filtered(messages)
    return time.monotonic() - started
