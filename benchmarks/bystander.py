"""Time to the first text of another user's answer while one user's large request is served."""

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.host_calls import PROBE, HostCalls
from benchmarks.long_chats import Chat, Message, adversarial_prompts, message
from tests.stands.processes.pipelines_server import FILTER

# Seconds after the start of the large request. By then the server reads it, or has read it.
_LATER = 0.005
_PATIENCE = 20.0

_Work = Callable[[], Coroutine[Any, Any, object]]


async def beside_long_chat(calls: HostCalls, chat: Chat, turns: int, rounds: int) -> float:
    """Milliseconds that the newest of `turns` turns adds, over the same body to an empty filter and to a relay."""

    def newest() -> list[Message]:
        return chat.with_newest(turns)

    added = []
    pairs: list[tuple[_Work, _Work]] = [
        (lambda: calls.filtered(newest(), FILTER), lambda: calls.filtered(newest(), PROBE)),
        (lambda: calls.guarded(newest()), lambda: calls.relayed(newest())),
    ]
    for ours, theirs in pairs:
        waits = [await _slowest(calls, ours) - await _slowest(calls, theirs) for _ in range(rounds)]
        added.append(statistics.median(waits))
    return max(added)


async def beside_adversarial_prompts(
    calls: HostCalls, kinds: Sequence[str], chars: int, rounds: int, tell: Callable[[str], None]
) -> float:
    """The same for prompts of `chars` characters that are slow to process for naive code; the worst of them."""
    added = {}
    for kind in kinds:
        pairs = _adversarial_pairs(calls, kind, chars, rounds)
        waits = [[await _slowest(calls, work) for work in pair] for pair in pairs]
        # The minimum is the round with the least other load on the machine.
        differences = [ours - theirs for ours, theirs in waits]
        added[kind] = max(min(differences[:rounds]), min(differences[rounds:]))
        tell(f"during {chars} characters of {kind}: {added[kind]:.0f} ms")
        if added[kind] > _PATIENCE * 1000:
            tell("the server is still busy with this prompt, so the other kinds are left out")
            break
    return max(added.values())


def _adversarial_pairs(calls: HostCalls, kind: str, chars: int, rounds: int) -> Iterator[tuple[_Work, _Work]]:
    """Pairs through the filter, then as many through a guarded model. Each prompt is new."""

    def prompt() -> list[Message]:
        return [message(0, adversarial_prompts(chars)[kind])]

    for _ in range(rounds):
        yield partial(calls.filtered, prompt(), FILTER), partial(calls.filtered, prompt(), PROBE)
    for _ in range(rounds):
        yield partial(calls.guarded, prompt()), partial(calls.relayed, prompt())


async def _slowest(calls: HostCalls, work: _Work) -> float:
    """Milliseconds to the first text of the slowest bystander. They run one after another while `work` goes on."""
    started = time.monotonic()
    other = asyncio.create_task(work())
    waits: list[float] = []
    try:
        await asyncio.sleep(_LATER)
        while not waits or not (other.done() or time.monotonic() - started > _PATIENCE):
            waits.append(await calls.bystander())
        if other.done():
            await other
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
    return max(waits)
