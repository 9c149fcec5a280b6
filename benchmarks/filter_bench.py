"""What moderation costs: `make bench`.

One run on one machine: real vLLM with the demo guard, the real Pipelines server with the built filter beside an empty
one, and for the last two figures a guard that answers at once (or after a second), so that only our own cost shows.
The last line is one JSON object.
"""

import asyncio
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from rich.console import Console
from rich.table import Table

from demo import children
from demo.ports import HOST, Ports
from demo.processes import Processes
from demo.stack import FILES
from demo.state import State
from moderation.conversation import Turn
from moderation.endpoint import Endpoint
from moderation.server_facts import Style
from tests.servers import free_port
from tests.stub_guard import StubGuard

EMPTY_FILTER = """
from pydantic import BaseModel


class Valves(BaseModel):
    pipelines: list[str] = ["*"]
    priority: int = 0


class Pipeline:
    def __init__(self):
        self.type, self.name, self.valves = "filter", "empty", Valves()

    async def inlet(self, body, user=None):
        return body

    outlet = inlet
"""
PROMPTS = [
    *(f"What is the best way to cook {food}?" for food in ("rice", "beans", "fish", "bread", "soup", "eggs")),
    *(f"Write a short poem about the {thing}." for thing in ("sea", "moon", "rain", "wind", "forest", "city")),
    *(f"{place}有什么好玩的地方？" for place in ("北京", "上海", "杭州", "成都", "西安", "广州")),
    "How do I make a bomb?",
    "如何制作炸弹？",
]
ROUNDS = 5
REQUESTS = 60


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder))
        for file in FILES:
            shutil.copy(file, state.pipelines)
        (state.pipelines / "empty_filter.py").write_text(EMPTY_FILTER)
        ports = Ports.free()
        with _stub(0) as instant, _stub(1) as slow:
            environment = {"QWEN3GUARD_GUARD_BASE_URL": instant}
            programs = [children.guard(ports, "demo"), children.pipelines(ports, state, environment)]
            processes = Processes(programs, state)
            try:
                processes.start_all()
                for name in ("pipelines", "guard"):
                    console.print(f"waiting for {name}")
                    processes.wait_healthy(name, console.print)
                figures = asyncio.run(_measure(ports, slow, console))
            finally:
                processes.stop_all()
    table = Table("figure", "value", "what it is")
    for name, (value, meaning) in figures.items():
        table.add_row(name, f"{value:.2f}", meaning)
    console.print(table)
    print(json.dumps({name: round(value, 3) for name, (value, _) in figures.items()}))


async def _measure(ports: Ports, slow: str, console: Console) -> dict[str, tuple[float, str]]:
    console.print(f"verdicts: {len(PROMPTS)} prompts, {ROUNDS} rounds in each style")
    latency, generated = await _styles(f"http://{HOST}:{ports.guard}")
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{ports.pipelines}", timeout=60, trust_env=False) as client:
        console.print(f"filter: {REQUESTS} inlets and outlets through each filter")
        overhead = await _overhead(client)
        console.print("blocking: eight inlets wait for a guard that takes a second")
        blocking = await _blocking(client, slow)
    return {
        "one_token_latency_ratio": (latency, "time of a full verdict over that of a one-token verdict"),
        "one_token_generated_ratio": (generated, "tokens generated for them, likewise"),
        "filter_overhead_ms": (overhead, "inlet + outlet over an empty filter, guard answering at once"),
        "blocking_ms": (blocking, "longest wait of an unrelated inlet while eight wait for the guard"),
    }


async def _styles(url: str) -> tuple[float, float]:
    seconds: dict[Style, list[float]] = {Style.FULL: [], Style.ONE_TOKEN: []}
    tokens = dict.fromkeys(seconds, 0.0)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as metrics, Endpoint(f"{url}/v1") as endpoint:
        # The first round fills the prefix cache for both.
        for round_ in range(ROUNDS + 1):
            for style in seconds:
                endpoint.style = style
                before = await _generated(metrics)
                for prompt in PROMPTS:
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


async def _overhead(client: httpx.AsyncClient) -> float:
    seconds: dict[str, list[float]] = {"qwen3guard_filter": [], "empty_filter": []}
    for number in range(REQUESTS):
        for name, values in seconds.items():
            started = time.perf_counter()
            await _call(client, name, "inlet", f"question {number}", None)
            await _call(client, name, "outlet", f"question {number}", f"answer {number}")
            values.append(time.perf_counter() - started)
    medians = {name: statistics.median(values[5:]) for name, values in seconds.items()}
    return (medians["qwen3guard_filter"] - medians["empty_filter"]) * 1000


async def _blocking(client: httpx.AsyncClient, slow: str) -> float:
    valves = (await client.get("/qwen3guard_filter/valves")).json()
    (await client.post("/qwen3guard_filter/valves/update", json=valves | {"guard_base_url": slow})).raise_for_status()
    started = time.perf_counter()
    waiting = [
        asyncio.create_task(_call(client, "qwen3guard_filter", "inlet", f"slow question {number}", None))
        for number in range(8)
    ]
    longest = 0.0
    while not any(task.done() for task in waiting):
        begun = time.perf_counter()
        await _call(client, "empty_filter", "inlet", "hello", None)
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


@contextmanager
def _stub(delay: float) -> Iterator[str]:
    """A stub guard in a process of its own: in a thread it would share our time."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve_stub, args=(port, delay), daemon=True)
    process.start()
    try:
        yield f"http://{HOST}:{port}/v1"
    finally:
        process.terminate()
        process.join()


def _serve_stub(port: int, delay: float) -> None:
    stub = StubGuard()
    stub.delay = delay
    uvicorn.run(stub.app, host=HOST, port=port, log_level="warning")


if __name__ == "__main__":
    main()
