"""Prompt tokens that a real guard computes for the newest turn: those that are not in its prefix cache."""

from benchmarks.command import RunningGuard
from benchmarks.host_calls import HostCalls
from benchmarks.long_chats import Chat, message, new_text
from benchmarks.streamed_run import new_http
from tests.stands.processes.pipelines_server import FILTER

# The demo guard's context is 2,048 tokens, template included: 60 such turns must be cut, ten need not.
_TURN_CHARS = 160
_COUNTERS = {"vllm:prefix_cache_queries_total": 1, "vllm:prefix_cache_hits_total": -1}


async def uncached_tokens_ratio(server: str, guard: RunningGuard, turns: tuple[range, range]) -> float:
    """The ratio for the newest turn with its answer, in chats of the second lengths over chats of the first.

    The filter of the Pipelines server at `server` gets the guard.
    """
    async with new_http() as http:
        calls = HostCalls(http, server, guard.root)
        # The demo guard makes some errors, and a removed turn would change the context of later ones.
        await calls.set_valves(FILTER, guard_base_url=f"{guard.root}/v1", guard_api_key=guard.key, mode="monitor")
        short, long = [await _uncached(calls, guard.root, around) for around in turns]
    return long / short


async def _uncached(calls: HostCalls, guard: str, around: range) -> float:
    """The mean over a growing chat. A single turn would mislead: a cut costs much once and saves for many turns."""
    chat = Chat("English", 90_000 + around.start, _TURN_CHARS)
    messages = chat.turns(around.start)
    await calls.filtered(messages)
    before = await _computed(calls, guard)
    for place in around:
        messages = [*messages, message(place, new_text("English", _TURN_CHARS))]
        answer = new_text("English", _TURN_CHARS)
        await calls.filtered(messages, answer=answer)
        messages = [*messages, message(place + 1, answer)]
    return (await _computed(calls, guard) - before) / len(around)


async def _computed(calls: HostCalls, guard: str) -> float:
    lines = (await calls.http.get(f"{guard}/metrics")).raise_for_status().text.splitlines()
    found = [(line.partition("{")[0], float(line.split()[-1])) for line in lines if "{" in line]
    return sum(_COUNTERS.get(name, 0) * value for name, value in found)
