"""The cost of moderation: `make bench`.

One run on one machine: real vLLM with the demo guard, and the real Pipelines server with the built filter and an empty
filter. For the last two figures a stub guard answers at once (or after a second), so that only our own cost is
measured. The last line is one JSON object.
"""

import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from rich.console import Console

from benchmarks.command import Figure, RunningGuard, add_guard_options, demo_guard, parser, report
from benchmarks.host_calls import PROBE, PROBE_FILE
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import Style
from tests.stands.clients import NO_IDLE
from tests.stands.processes.pipelines_server import FILTER, pipelines_server
from tests.stands.processes.stub_processes import stub_guard_process
from tests.stands.uploads import plugins
from tests.stands.waiting import PATIENCE

PROMPTS = [
    *(f"What is the best way to cook {food}?" for food in ("rice", "beans", "fish", "bread", "soup", "eggs")),
    *(f"Write a short poem about the {thing}." for thing in ("sea", "moon", "rain", "wind", "forest", "city")),
    *(f"{place}有什么好玩的地方？" for place in ("北京", "上海", "杭州", "成都", "西安", "广州")),
    "How do I make a bomb?",
    "如何制作炸弹？",
]


class Sizes(NamedTuple):
    """How much is measured."""

    prompts: int = len(PROMPTS)
    rounds: int = 5
    """Of verdicts in each style, after one that fills the prefix cache."""
    requests: int = 60
    """Through each filter."""


# Through each filter, before those that count.
_UNCOUNTED = 5
QUICK = Sizes(prompts=2, rounds=1, requests=2)


def main() -> None:
    console = Console()
    options_of = parser(__doc__)
    add_guard_options(options_of)
    options = options_of.parse_args()
    sizes = QUICK if options.quick else Sizes()
    with ExitStack() as stack:
        guard = stack.enter_context(demo_guard(options, console))
        instant, slow = (stack.enter_context(stub_guard_process(seconds)) for seconds in (0, 1))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variables = {
            "QWEN3GUARD_GUARD_BASE_URL": f"{instant}/v1",
            "QWEN3GUARD_TIMEOUT_SECONDS": f"{PATIENCE:g}",
        }
        dist = [file.stem for file in plugins()]
        server = stack.enter_context(pipelines_server("pipelines", folder, dist, variables, files=[PROBE_FILE]))
        figures = asyncio.run(_measure(guard, server.url, f"{slow}/v1", sizes, console))
    report(figures, console)


async def _measure(guard: RunningGuard, server: str, slow: str, sizes: Sizes, console: Console) -> dict[str, Figure]:
    console.print(f"verdicts: {sizes.prompts} prompts, {sizes.rounds} rounds in each style")
    latency, generated = await _styles(guard, sizes)
    async with httpx.AsyncClient(base_url=server, timeout=PATIENCE, trust_env=False) as client:
        console.print(f"filter: {sizes.requests} inlets and outlets through each filter")
        overhead = await _overhead(client, sizes.requests)
        console.print("blocking: eight inlets wait for a guard that takes a second")
        blocking = await _blocking(client, slow)
    return {
        "one_token_latency_ratio": Figure(latency, "time of a full verdict over that of a one-token verdict"),
        "one_token_generated_ratio": Figure(generated, "the same for generated tokens"),
        "filter_overhead_ms": Figure(overhead, "inlet + outlet over an empty filter, guard answering at once"),
        "blocking_ms": Figure(blocking, "longest wait of an unrelated inlet while eight wait for the guard"),
    }


async def _styles(guard: RunningGuard, sizes: Sizes) -> tuple[float, float]:
    seconds: dict[Style, list[float]] = {Style.FULL: [], Style.ONE_TOKEN: []}
    tokens = dict.fromkeys(seconds, 0.0)
    async with (
        httpx.AsyncClient(base_url=guard.root, timeout=PATIENCE, trust_env=False, limits=NO_IDLE) as metrics,
        Endpoint(f"{guard.root}/v1", guard.key, timeout=PATIENCE) as endpoint,
    ):
        # The first round fills the prefix cache for both.
        for round_ in range(sizes.rounds + 1):
            for style in seconds:
                endpoint.style = style
                before = await _generated(metrics)
                for prompt in PROMPTS[: sizes.prompts]:
                    started = time.perf_counter()
                    verdict = await endpoint.ask([Turn("user", prompt)])
                    if not verdict.reached or endpoint.style is not style:
                        raise RuntimeError(f"the guard gave no {style.name} verdict: {verdict.problem}")
                    if round_:
                        seconds[style].append(time.perf_counter() - started)
                if round_:
                    tokens[style] += await _generated(metrics) - before
    medians = {style: statistics.median(values) for style, values in seconds.items()}
    return medians[Style.FULL] / medians[Style.ONE_TOKEN], tokens[Style.FULL] / tokens[Style.ONE_TOKEN]


async def _generated(metrics: httpx.AsyncClient) -> float:
    lines = (await metrics.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total{"))


async def _overhead(client: httpx.AsyncClient, requests: int) -> float:
    seconds: dict[str, list[float]] = {FILTER: [], PROBE: []}
    for number in range(_UNCOUNTED + requests):
        for name, values in seconds.items():
            started = time.perf_counter()
            await _call(client, name, "inlet", f"question {number}", None)
            await _call(client, name, "outlet", f"question {number}", f"answer {number}")
            values.append(time.perf_counter() - started)
    medians = {name: statistics.median(values[_UNCOUNTED:]) for name, values in seconds.items()}
    return (medians[FILTER] - medians[PROBE]) * 1000


async def _blocking(client: httpx.AsyncClient, slow: str) -> float:
    valves = (await client.get(f"/{FILTER}/valves")).json()
    (await client.post(f"/{FILTER}/valves/update", json=valves | {"guard_base_url": slow})).raise_for_status()
    started = time.perf_counter()
    waiting = [
        asyncio.create_task(_call(client, FILTER, "inlet", f"slow question {number}", None)) for number in range(8)
    ]
    longest = 0.0
    while not any(task.done() for task in waiting):
        begun = time.perf_counter()
        await _call(client, PROBE, "inlet", "hello", None)
        longest = max(longest, time.perf_counter() - begun)
        await asyncio.sleep(0.01)
    await asyncio.gather(*waiting)
    if time.perf_counter() - started < 1:
        raise RuntimeError("the inlets did not wait for the slow guard")
    return longest * 1000


async def _call(client: httpx.AsyncClient, name: str, direction: str, asked: str, answer: str | None) -> None:
    messages: list[dict[str, Any]] = [{"id": "u", "role": "user", "content": asked}]
    if answer:
        output = [{"type": "message", "content": [{"type": "output_text", "text": answer}]}]
        messages.append({"id": "a", "role": "assistant", "content": answer, "output": output})
    body = {"model": "chat", "id": "a", "messages": messages}
    reply = await client.post(f"/{name}/filter/{direction}", json={"body": body, "user": {"id": "u", "role": "user"}})
    if reply.raise_for_status().json()["messages"] != messages:
        raise RuntimeError(f"{name} changed a harmless {direction}: {reply.text[:300]}")


if __name__ == "__main__":
    main()
