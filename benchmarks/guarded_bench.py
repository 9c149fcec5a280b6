"""The cost of guarded models, and what they leak: `make bench-guarded`.

One run on one machine: the real Pipelines server (one worker) with the built plugin, a chat model that streams at a
fixed pace, and a guard with a fixed delay, each in its own process. "Added" means compared with the bare chat model. A
plugin in the same server that only relays lines shows the server's own share. The last line is one JSON object.
"""

import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.command import Figure, parser, report
from benchmarks.streamed_run import Run, new_http, streamed_run
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.paced_model import DIALECTS_TRIED, UNSAFE_AT, token
from tests.stands.processes.pipelines_server import PipelinesServer, pipelines_server
from tests.stands.processes.stub_processes import paced_model_process, stub_guard_process
from tests.stands.waiting import PATIENCE

GUARD_SECONDS = 0.02
TOKENS = 200
# Of an unsafe answer that nobody ends: minutes, on any machine more than its refusal takes.
FAR_LONGER = 100_000
# In Figure 9 of the technical report, the answer is judged every 32 tokens, each time from its beginning.
FIXED_WINDOW = 32
PLUGIN = "qwen3guard_models"
RELAY = Path(__file__).with_name("relay_pipe.py")


class Sizes(NamedTuple):
    """How much is measured."""

    pace_ms: int = 5
    """Milliseconds between two tokens."""
    rounds: int = 12
    dialects: tuple[str, ...] = DIALECTS_TRIED
    dialect_rounds: int = 3
    loads: tuple[int, ...] = (1, 16, 64, 100)
    """Streams at a time."""
    load_rounds: int = 5
    crowd: int = 100
    """Slow streams at a time."""


QUICK = Sizes(1, rounds=1, dialects=("plain", "azure"), dialect_rounds=1, loads=(16, 64), load_rounds=1, crowd=2)


def main() -> None:
    console = Console()
    sizes = QUICK if parser(__doc__).parse_args().quick else Sizes()
    with ExitStack() as stack:
        guard = stack.enter_context(stub_guard_process(GUARD_SECONDS))
        model = stack.enter_context(paced_model_process())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {
            "QWEN3GUARD_GUARD_BASE_URL": f"{guard}/v1",
            "QWEN3GUARD_TIMEOUT_SECONDS": f"{PATIENCE:g}",
            "QWEN3GUARD_UPSTREAM_BASE_URLS": f"{model}/v1",
            "RELAY_UPSTREAM": f"{model}/v1",
        }
        server = stack.enter_context(pipelines_server("pipelines", folder, [PLUGIN], environment, files=[RELAY]))
        figures, loads = asyncio.run(Bench(server, guard, model, sizes, console).measure())
    table = Table(
        "streams", "bare tokens/s", "guarded tokens/s", "first text + ms", "end + ms", "CPU ms", title="under load"
    )
    for count, load in loads.items():
        table.add_row(str(count), *(f"{figure:.0f}" for figure in load))
    console.print(table)
    report(figures, console)


class Alone(NamedTuple):
    """One stream at a time; milliseconds over the bare chat model, medians."""

    first: float
    total: float
    relay_first: float
    relay_total: float
    calls: float
    """Most requests to the guard for one answer."""
    tokens: float
    """Tokens of the answer that the guard computes."""


class Load(NamedTuple):
    """Streams that start at the same instant; medians."""

    bare_rate: float
    """Tokens per second of the bare chat model."""
    rate: float
    """Tokens per second of the guarded model."""
    first: float
    """Milliseconds to the first text, over the bare chat model."""
    total: float
    """Milliseconds to the end, over the bare chat model."""
    cpu: float
    """Milliseconds of the server's processor time per stream."""


class Bench:
    """The measurements, on three running servers."""

    def __init__(self, server: PipelinesServer, guard: str, model: str, sizes: Sizes, console: Console) -> None:
        self.guarded = f"{server.url}/chat/completions", f"{PLUGIN}.paced"
        self.relay = f"{server.url}/chat/completions", RELAY.stem
        self.bare = f"{model}/v1/chat/completions", "paced"
        self.guard, self.model, self.server, self.sizes, self.console = guard, model, server, sizes, console
        self.http = new_http()
        self.asked = 0

    async def measure(self) -> tuple[dict[str, Figure], dict[int, Load]]:
        async with self.http:
            self.console.print(
                f"one stream at a time: {TOKENS} tokens {self.sizes.pace_ms} ms apart, guard {GUARD_SECONDS} s"
            )
            check = await self.check()
            await self.alone()
            alone = await self.alone()
            leaked, closed = await self.unsafe()
            self.console.print("the same in the dialects of Azure, OpenRouter and vLLM")
            leaked_dialects, frames_ratio = await self.dialects()
            loads = {}
            for count in self.sizes.loads:
                self.console.print(f"{count} streams at a time")
                loads[count] = await self.together(count)
            self.console.print(
                f"{self.sizes.crowd} streams of 64 tokens {10 * self.sizes.pace_ms} ms apart, guard answering at once"
            )
            ratio, listed = await self.hundred()
        fixed = -(-TOKENS // FIXED_WINDOW)
        again = sum(min(TOKENS, FIXED_WINDOW * (check + 1)) for check in range(fixed))
        figures = {
            "ttft_added_ms": Figure(alone.first, "to the first text, median", "<= 36"),
            "total_added_ms": Figure(alone.total, "to the end, median", "<= check_ms"),
            "check_ms": Figure(check, "one request to the guard from here, median"),
            "relay_ttft_ms": Figure(alone.relay_first, "to the first text, through a plugin that only relays lines"),
            "relay_added_ms": Figure(alone.relay_total, "to the end, through the same"),
            "leaked_chars": Figure(leaked, f"unsafe characters shown, {self.sizes.rounds} unsafe answers", "0"),
            "leaked_chars_dialects": Figure(
                leaked_dialects, "the same in the dialects of Azure, OpenRouter and vLLM", "0"
            ),
            "frames_ratio_dialects": Figure(
                frames_ratio, "frames of a harmless answer over those in plain, worst", "<= 1.5"
            ),
            "guard_calls": Figure(alone.calls, "per answer, its prompt included", "<= 12"),
            "guard_tokens": Figure(alone.tokens, "answer tokens that the guard computes, with a prefix cache"),
            "fixed_window_calls": Figure(fixed, "the same, judged every 32 tokens (Figure 9)"),
            "fixed_window_tokens": Figure(again, "the same, without a prefix cache"),
            "ttft_added_ms_16": Figure(
                loads[16].first, "to the first text, 16 streams that start at one instant", "<= 120"
            ),
            "ttft_added_ms_64": Figure(loads[64].first, "the same, 64 streams", "<= 600"),
            "cpu_ms_64": Figure(loads[64].cpu, "the server's processor time for one of them"),
            "tokens_per_s_64": Figure(loads[64].rate, "64 streams, one worker", ">= 4000"),
            "streams_100_ratio": Figure(ratio, "time of 100 streams over that of one", "<= 1.5"),
            "models_s": Figure(listed, "longest wait for /models meanwhile", "<= 1"),
            "upstream_closed_s": Figure(closed, "from the refusal's arrival, longest", "<= 1"),
        }
        return figures, loads

    async def ask(self, where: tuple[str, str], prompt: str = "", count: int = TOKENS, slower: int = 1) -> Run:
        self.asked += 1
        url, model = where
        # Each prompt is new, so that no verdict is cached.
        messages = [{"role": "user", "content": f"{prompt} question {self.asked} of {time.time_ns()}"}]
        return await streamed_run(
            self.http,
            url,
            {"model": model, "messages": messages, "max_tokens": count, "seed": slower * self.sizes.pace_ms},
        )

    async def check(self) -> float:
        took = []
        body = {"model": StubGuard().model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
        for _ in range(self.sizes.rounds):
            started = time.monotonic()
            (await self.http.post(f"{self.guard}/v1/chat/completions", json=body)).raise_for_status()
            took.append(time.monotonic() - started)
        return statistics.median(took) * 1000

    async def alone(self) -> Alone:
        rounds: list[Alone] = []
        for _ in range(self.sizes.rounds):
            bare, relayed = await self.ask(self.bare), await self.ask(self.relay)
            await self.judged()
            guarded = await self.ask(self.guarded)
            if not bare.text == relayed.text == guarded.text:
                raise RuntimeError(f"a safe answer was changed: {guarded.text[:200]}")
            judged = await self.judged()
            first, total = _added(guarded, bare)
            relay_first, relay_total = _added(relayed, bare)
            # With a prefix cache, the guard computes each token of the longest judged text once.
            tokens = len(max(judged, key=len).split())
            rounds.append(Alone(first, total, relay_first, relay_total, len(judged), tokens))
        medians = Alone._make(map(statistics.median, zip(*rounds, strict=True)))
        return medians._replace(calls=max(each.calls for each in rounds))

    async def unsafe(self) -> tuple[float, float]:
        before = "".join(token(number, unsafe=True) for number in range(UNSAFE_AT))
        leaked, closed = 0, 0.0
        await self.http.get(f"{self.model}/endings")
        for _ in range(self.sizes.rounds):
            run = await self.ask(self.guarded, "unsafe", FAR_LONGER)
            shown = run.text.split("\n\n")[0]
            leaked += len(shown) if not before.startswith(shown.rstrip()) else max(0, len(shown) - len(before))
            ended, whole = await self.ending()
            if whole:
                raise RuntimeError("the upstream of a refused answer ran to its end")
            closed = max(closed, ended - run.ended)
        return leaked, closed

    async def ending(self) -> tuple[float, bool]:
        """When the only stream since the last call ended, and whether it was complete."""
        while True:
            if endings := (await self.http.get(f"{self.model}/endings")).json():
                ((ended, whole),) = endings
                return ended, whole
            await asyncio.sleep(0.02)

    async def dialects(self) -> tuple[float, float]:
        """Unsafe characters that leaked in any dialect, and the worst ratio of frames."""
        before = "".join(token(number, unsafe=True) for number in range(UNSAFE_AT))
        leaked, frames = 0, dict[str, float]()
        for dialect in self.sizes.dialects:
            where = self.guarded[0], f"{PLUGIN}.paced-{dialect}"
            counted = []
            for _ in range(self.sizes.dialect_rounds):
                deltas = await self.deltas(where, "unsafe")
                for key in ("reasoning", "reasoning_content"):
                    shown = "".join(delta.get(key) or "" for delta in deltas)
                    leaked += 0 if before.startswith(shown) else len(shown)
                leaked += "bomb" in json.dumps(deltas)
                counted.append(sum(map(bool, await self.deltas(where, "safe"))))
            frames[dialect] = statistics.median(counted)
        return leaked, max(frames.values()) / frames["plain"]

    async def deltas(self, where: tuple[str, str], prompt: str) -> list[dict[str, Any]]:
        self.asked += 1
        url, model = where
        messages = [{"role": "user", "content": f"{prompt} question {self.asked} of {time.time_ns()}"}]
        body = {"model": model, "messages": messages, "stream": True, "seed": self.sizes.pace_ms}
        async with self.http.stream("POST", url, json=body) as reply:
            lines = [line async for line in reply.aiter_lines() if line.startswith("data: {")]
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
        return [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]

    async def together(self, count: int) -> Load:
        loads = []
        for _ in range(self.sizes.load_rounds):
            rates, runs = [], []
            for where in (self.bare, self.guarded):
                started, spent = time.monotonic(), self.cpu()
                runs.append(await asyncio.gather(*(self.ask(where) for _ in range(count))))
                rates.append(count * TOKENS / (time.monotonic() - started))
                cpu = (self.cpu() - spent) / count * 1000
            bare, guarded = runs
            first = statistics.median(run.first for run in guarded) - statistics.median(run.first for run in bare)
            total = statistics.median(run.total for run in guarded) - statistics.median(run.total for run in bare)
            bare_rate, rate = rates
            loads.append(Load(bare_rate, rate, first * 1000, total * 1000, cpu))
        return Load._make(map(statistics.median, zip(*loads, strict=True)))

    def cpu(self) -> float:
        """Seconds of processor time that the Pipelines server has used. Unlike wall time, independent of other load."""
        times = psutil.Process(self.server.process.pid).cpu_times()
        return float(times.user + times.system)

    async def hundred(self) -> tuple[float, float]:
        await self.http.post(f"{self.guard}/delay", json=0)
        one = (await self.ask(self.guarded, count=64, slower=10)).total
        started = time.monotonic()
        reading = [asyncio.create_task(self.ask(self.guarded, count=64, slower=10)) for _ in range(self.sizes.crowd)]
        slowest = 0.0
        while not all(task.done() for task in reading):
            begun = time.monotonic()
            await self.http.get(f"{self.server.url}/models", headers={"Authorization": "Bearer a-key-for-tests"})
            slowest = max(slowest, time.monotonic() - begun)
            await asyncio.sleep(0.1)
        last = max(run.ended for run in await asyncio.gather(*reading))
        return (last - started) / one, slowest

    async def judged(self) -> list[str]:
        """The prompts and answers (whole or in part) that the guard was asked about since the last call."""
        return list((await self.http.get(f"{self.guard}/judged")).json())


def _added(run: Run, bare: Run) -> tuple[float, float]:
    """Milliseconds to the first text and to the end."""
    return 1000 * (run.first - bare.first), 1000 * (run.total - bare.total)


if __name__ == "__main__":
    main()
