"""What guarded models cost, and what they leak: `make bench-guarded`.

One run on one machine: the real Pipelines server with the built plugin, one worker, between a chat model that streams
by the clock and a guard that takes its time, both in processes of their own. "Added" is over the bare chat model; a
plugin in the same server that only passes lines on tells how much of it is the server's. The last line is one JSON
object.
"""

import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import uvicorn
from rich.console import Console
from rich.table import Table
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.paced_model import DIALECTS_TRIED, UNSAFE_AT, token
from tests.integration.pipelines_server import PipelinesServer, pipelines_server
from tests.servers import free_port
from tests.stub_guard import StubGuard

GUARD_SECONDS = 0.02
TOKENS, PACE_MS = 200, 5
ROUNDS = 12
DIALECT_ROUNDS = 3
LOADS = (1, 16, 64, 100)
# The technical report's Figure 9 judges every 32 tokens, each time from the beginning.
FIXED_WINDOW = 32
PLUGIN = "qwen3guard_models"
RELAY = Path(__file__).with_name("relay_pipe.py")


class Run(NamedTuple):
    """One streamed answer as its client saw it; seconds from the request."""

    first: float
    total: float
    text: str
    ended: float
    """By the system's monotonic clock."""


def main() -> None:
    console = Console()
    with ExitStack() as stack:
        guard, model = stack.enter_context(guard_process()), stack.enter_context(model_process())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {
            "QWEN3GUARD_GUARD_BASE_URL": f"{guard}/v1",
            "QWEN3GUARD_UPSTREAM_BASE_URLS": f"{model}/v1",
            "RELAY_UPSTREAM": f"{model}/v1",
        }
        server = stack.enter_context(pipelines_server("pipelines", folder, [PLUGIN], environment))
        server.upload(RELAY)
        figures, loads = asyncio.run(Bench(server, guard, model, console).measure())
    table = Table(
        "streams", "bare tokens/s", "guarded tokens/s", "first text + ms", "end + ms", "CPU ms", title="under load"
    )
    for row in loads:
        table.add_row(*row)
    console.print(table)
    table = Table("figure", "value", "target", "what it is")
    for name, (value, target, meaning) in figures.items():
        table.add_row(name, f"{value:.2f}", target, meaning)
    console.print(table)
    print(json.dumps({name: round(value, 3) for name, (value, _, _) in figures.items()}))


class Alone(NamedTuple):
    """One stream at a time; milliseconds over the bare chat model, medians."""

    first: float
    total: float
    relay_first: float
    relay_total: float
    calls: float
    """The guard's, for one answer; the most."""
    tokens: float
    """The answer's, that the guard computes."""


class Bench:
    """The measurements, on three running servers."""

    def __init__(self, server: PipelinesServer, guard: str, model: str, console: Console) -> None:
        self.guarded = f"{server.url}/chat/completions", f"{PLUGIN}.paced"
        self.relay = f"{server.url}/chat/completions", RELAY.stem
        self.bare = f"{model}/v1/chat/completions", "paced"
        self.guard, self.model, self.server, self.console = guard, model, server, console
        # Less than the five seconds after which the servers close idle connections.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=2)
        self.http = httpx.AsyncClient(timeout=120, trust_env=False, limits=limits)
        self.asked = 0

    async def measure(self) -> tuple[dict[str, tuple[float, str, str]], list[tuple[str, ...]]]:
        async with self.http:
            self.console.print(f"one stream at a time: {TOKENS} tokens {PACE_MS} ms apart, guard {GUARD_SECONDS} s")
            check = await self.check()
            await self.alone()
            alone = await self.alone()
            leaked, closed = await self.unsafe()
            self.console.print("the same in the dialects of Azure, OpenRouter and vLLM")
            leaked_dialects, frames_ratio = await self.dialects()
            loads, rates = [], {}
            for count in LOADS:
                self.console.print(f"{count} streams at a time")
                row, rates[count] = await self.together(count)
                loads.append(row)
            self.console.print("100 streams of 64 tokens 50 ms apart, guard answering at once")
            ratio, listed = await self.hundred()
        fixed = -(-TOKENS // FIXED_WINDOW)
        again = sum(min(TOKENS, FIXED_WINDOW * (check + 1)) for check in range(fixed))
        figures = {
            "ttft_added_ms": (alone.first, "<= 36", "to the first text, median"),
            "total_added_ms": (alone.total, "<= check_ms", "to the end, median"),
            "check_ms": (check, "", "one request to the guard from here, median"),
            "relay_ttft_ms": (alone.relay_first, "", "to the first text, through a plugin that only passes lines on"),
            "relay_added_ms": (alone.relay_total, "", "to the end, through the same"),
            "leaked_chars": (leaked, "0", f"unsafe characters shown, {ROUNDS} unsafe answers"),
            "leaked_chars_dialects": (leaked_dialects, "0", "the same in the dialects of Azure, OpenRouter and vLLM"),
            "frames_ratio_dialects": (frames_ratio, "<= 1.5", "frames of a harmless answer over those in plain, worst"),
            "guard_calls": (alone.calls, "<= 12", "per answer, its prompt included"),
            "guard_tokens": (alone.tokens, "", "answer tokens that the guard computes, with a prefix cache"),
            "fixed_window_calls": (fixed, "", "the same, judged every 32 tokens (Figure 9)"),
            "fixed_window_tokens": (again, "", "the same, without a prefix cache"),
            "tokens_per_s_64": (rates[64], ">= 4000", "64 streams, one worker"),
            "streams_100_ratio": (ratio, "<= 1.5", "time of 100 streams over that of one"),
            "models_s": (listed, "<= 1", "longest wait for /models meanwhile"),
            "upstream_closed_s": (closed, "<= 1", "from the refusal's arrival, longest"),
        }
        return figures, loads

    async def ask(self, where: tuple[str, str], prompt: str = "", count: int = TOKENS, pace: int = PACE_MS) -> Run:
        self.asked += 1
        url, model = where
        # Every prompt is new, or the guard would remember its verdict.
        messages = [{"role": "user", "content": f"{prompt} question {self.asked} of {time.time_ns()}"}]
        body = {"model": model, "messages": messages, "stream": True, "max_tokens": count, "seed": pace}
        started, first, text = time.monotonic(), 0.0, ""
        async with self.http.stream("POST", url, json=body) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: {") and (said := content(line)):
                    first = first or time.monotonic() - started
                    text += said
        ended = time.monotonic()
        return Run(first, ended - started, text, ended)

    async def check(self) -> float:
        took = []
        body = {"model": StubGuard().model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
        for _ in range(ROUNDS):
            started = time.monotonic()
            (await self.http.post(f"{self.guard}/v1/chat/completions", json=body)).raise_for_status()
            took.append(time.monotonic() - started)
        return statistics.median(took) * 1000

    async def alone(self) -> Alone:
        rounds = []
        for _ in range(ROUNDS):
            bare, relayed = await self.ask(self.bare), await self.ask(self.relay)
            await self.judged()
            guarded = await self.ask(self.guarded)
            if not bare.text == relayed.text == guarded.text:
                raise RuntimeError(f"a safe answer was changed: {guarded.text[:200]}")
            judged = await self.judged()
            seconds = *_added(guarded, bare), *_added(relayed, bare)
            # With a prefix cache the guard computes what is new since the longest text that it has read.
            rounds.append((*(1000 * added for added in seconds), len(judged), len(max(judged, key=len).split())))
        *added, calls, tokens = zip(*rounds, strict=True)
        return Alone(*map(statistics.median, added), max(calls), statistics.median(tokens))

    async def unsafe(self) -> tuple[float, float]:
        before = "".join(token(number, unsafe=True) for number in range(UNSAFE_AT))
        leaked, closed = 0, 0.0
        await self.http.get(f"{self.model}/endings")
        for _ in range(ROUNDS):
            run = await self.ask(self.guarded, "unsafe", 1000)
            shown = run.text.split("\n\n")[0]
            leaked += len(shown) if not before.startswith(shown.rstrip()) else max(0, len(shown) - len(before))
            for _ in range(100):
                if endings := (await self.http.get(f"{self.model}/endings")).json():
                    break
                await asyncio.sleep(0.02)
            else:
                raise RuntimeError("the upstream of a refused answer was not closed")
            ((ended, whole),) = endings
            if whole:
                raise RuntimeError("the upstream of a refused answer ran to its end")
            closed = max(closed, ended - run.ended)
        return leaked, closed

    async def dialects(self) -> tuple[float, float]:
        """Unsafe characters that came through in any dialect, and the worst ratio of frames."""
        before = "".join(token(number, unsafe=True) for number in range(UNSAFE_AT))
        leaked, frames = 0, dict[str, float]()
        for dialect in DIALECTS_TRIED:
            where = self.guarded[0], f"{PLUGIN}.paced-{dialect}"
            counted = []
            for _ in range(DIALECT_ROUNDS):
                deltas = await self.deltas(where, "unsafe")
                for key in ("reasoning", "reasoning_content"):
                    shown = "".join(delta.get(key) or "" for delta in deltas)
                    leaked += 0 if before.startswith(shown) else len(shown)
                leaked += "bomb" in json.dumps(deltas)
                counted.append(sum(map(bool, await self.deltas(where, "safe"))))
            frames[dialect] = statistics.median(counted)
        return leaked, max(frames.values()) / frames["plain"]

    async def deltas(self, where: tuple[str, str], prompt: str) -> list[dict[str, object]]:
        self.asked += 1
        url, model = where
        messages = [{"role": "user", "content": f"{prompt} question {self.asked} of {time.time_ns()}"}]
        body = {"model": model, "messages": messages, "stream": True, "seed": PACE_MS}
        async with self.http.stream("POST", url, json=body) as reply:
            lines = [line async for line in reply.aiter_lines() if line.startswith("data: {")]
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
        return [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]

    async def together(self, count: int) -> tuple[tuple[str, ...], float]:
        rates, runs = [], []
        for where in (self.bare, self.guarded):
            started, spent = time.monotonic(), self.cpu()
            runs.append(await asyncio.gather(*(self.ask(where) for _ in range(count))))
            rates.append(count * TOKENS / (time.monotonic() - started))
            cpu = (self.cpu() - spent) / count * 1000
        bare, guarded = runs
        first = statistics.median(run.first for run in guarded) - statistics.median(run.first for run in bare)
        total = statistics.median(run.total for run in guarded) - statistics.median(run.total for run in bare)
        told = (*rates, first * 1000, total * 1000, cpu)
        return (str(count), *(f"{figure:.0f}" for figure in told)), rates[1]

    def cpu(self) -> float:
        """Seconds of processor time that the Pipelines server has used, which other programs' load does not change."""
        times = psutil.Process(self.server.process.pid).cpu_times()
        return float(times.user + times.system)

    async def hundred(self) -> tuple[float, float]:
        await self.http.post(f"{self.guard}/delay", json=0)
        one = (await self.ask(self.guarded, count=64, pace=50)).total
        started = time.monotonic()
        reading = [asyncio.create_task(self.ask(self.guarded, count=64, pace=50)) for _ in range(100)]
        slowest = 0.0
        while not all(task.done() for task in reading):
            begun = time.monotonic()
            await self.http.get(f"{self.server.url}/models", headers={"Authorization": "Bearer a-key-for-tests"})
            slowest = max(slowest, time.monotonic() - begun)
            await asyncio.sleep(0.1)
        last = max(run.ended for run in await asyncio.gather(*reading))
        return (last - started) / one, slowest

    async def judged(self) -> list[str]:
        """The answers, or parts of them, and prompts that the guard was asked about since the last time."""
        return list((await self.http.get(f"{self.guard}/judged")).json())


def _added(run: Run, bare: Run) -> tuple[float, float]:
    return run.first - bare.first, run.total - bare.total


def content(line: str) -> str:
    chunk = json.loads(line.removeprefix("data: "))
    return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))


@contextmanager
def guard_process() -> Iterator[str]:
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve_guard, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def _serve_guard(port: int) -> None:
    stub = StubGuard()
    stub.delay = GUARD_SECONDS

    async def judged(request: Request) -> JSONResponse:
        found, stub.requests[:] = stub.judged, []
        return JSONResponse(found)

    async def delay(request: Request) -> JSONResponse:
        stub.delay = await request.json()
        return JSONResponse(None)

    stub.app.routes.extend([Route("/judged", judged), Route("/delay", delay, methods=["POST"])])
    uvicorn.run(stub.app, host="127.0.0.1", port=port, log_level="warning")


@contextmanager
def model_process() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.paced_model", str(port)])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/endings", trust_env=False)
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
