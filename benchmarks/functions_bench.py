"""The cost of the Functions, and what they leak: `make bench-functions`.

One run on one machine: the real Open WebUI (one worker), a chat model that streams at a fixed pace, and a guard with a
fixed delay, each in its own process. Every figure is compared with the same Open WebUI without the Function, or with a
Function that does nothing. The last line is one JSON object.
"""

import asyncio
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from rich.console import Console

from benchmarks.command import Figure, parser, report
from benchmarks.streamed_run import Run, new_http, streamed_run
from demo.stack.ports import Ports
from demo.stack.stack import Stack
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import FUNCTION_FILTER, FUNCTION_MODELS, Host
from demo.webui_client.protection import Protection
from demo.webui_client.provision import Connection
from guard_server.open_webui.records import EVERYBODY
from tests.stands.models.paced_model import UNSAFE_AT, token
from tests.stands.processes.stub_processes import paced_model_process, stub_guard_process
from tests.stands.waiting import PATIENCE

GUARD_SECONDS = 0.02
PACED = "paced"
EMPTY, WRAPPING = (Path(__file__).with_name(f"{name}.py") for name in ("empty_filter", "wrapping_pipe"))
# Between two unrelated requests.
_PAUSE = 0.02


class Sizes(NamedTuple):
    """How much is measured."""

    tokens: int = 200
    pace_ms: int = 5
    """Milliseconds between two tokens."""
    rounds: int = 12
    load_rounds: int = 3


QUICK = Sizes(tokens=20, pace_ms=1, rounds=1, load_rounds=1)


class Way(NamedTuple):
    """What a request goes through, and what it is compared with."""

    model: str
    filter: str | None = None
    """The Function filter that is on."""


NONE = Way(PACED)
WAYS = {
    "": (Way(PACED, FUNCTION_FILTER), Way(PACED, EMPTY.stem)),
    "models_": (Way(f"{FUNCTION_MODELS}.{PACED}"), Way(f"{WRAPPING.stem}.{PACED}")),
}
"""By the beginnings of their figures' names: ours, and a Function that does nothing."""


def main() -> None:
    console = Console()
    sizes = QUICK if parser(__doc__).parse_args().quick else Sizes()
    with ExitStack() as stack:
        guard = stack.enter_context(stub_guard_process(GUARD_SECONDS))
        model = stack.enter_context(paced_model_process())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        console.print("starting Open WebUI")
        servers = Stack(
            folder,
            ports=Ports.free(),
            guard=None,
            guard_url=f"{guard}/v1",
            upstream=Connection(f"{model}/v1"),
            host=Host.FUNCTIONS,
            protection=Protection.BOTH,
        )
        stack.enter_context(servers)
        figures = asyncio.run(Bench(servers, guard, model, sizes, console).measure())
    report(figures, console)


class Load(NamedTuple):
    """Streams that start at the same instant; medians."""

    cpu: float
    """Milliseconds of Open WebUI's processor time for a token."""
    waited: float
    """Longest wait of an unrelated request meanwhile, in milliseconds."""


class Bench:
    """The measurements, on three running servers."""

    def __init__(self, stack: Stack, guard: str, model: str, sizes: Sizes, console: Console) -> None:
        self.guard, self.model, self.sizes, self.console = guard, model, sizes, console
        self.stack = stack
        self.functions = FunctionsHost(stack.admin)
        for file in (EMPTY, WRAPPING):
            self.functions.install(file)
        for plugin in (FUNCTION_FILTER, FUNCTION_MODELS):
            # A busy machine must not change what is measured.
            stack.set_valves(plugin, timeout_seconds=PATIENCE)
        record = {"name": "wrapped", "meta": {}, "params": {}, "access_grants": [EVERYBODY]}
        name = {"id": f"{WRAPPING.stem}.{PACED}", "base_model_id": None}
        stack.admin.get("/api/models", refresh=True)
        stack.admin.post("/api/v1/models/create", record | name)
        self.process = psutil.Process(stack.processes.pid("webui"))
        self.http = new_http()
        self.http.headers["Authorization"] = f"Bearer {stack.user_token}"
        self.asked = 0

    async def measure(self) -> dict[str, Figure]:
        async with self.http:
            check = await self.check()
            figures = {"check_ms": Figure(check, "one request to the guard from here, median")}
            for name, (ours, empty) in WAYS.items():
                self.console.print(f"one stream at a time: {ours}")
                figures |= await self.alone(name, ours)
                for count in (16, 64):
                    self.console.print(f"{count} streams at a time: {ours}")
                    figures |= await self.together(name, count, ours, empty)
        return figures

    @contextmanager
    def on(self, way: Way) -> Iterator[None]:
        """With the filter of this way alone."""
        for name in (FUNCTION_FILTER, EMPTY.stem):
            self.functions.switch(name, active=name == way.filter)
        yield

    async def ask(self, way: Way, prompt: str = "", count: int = 0) -> Run:
        self.asked += 1
        # Each prompt is new, so that no verdict is cached.
        messages = [{"role": "user", "content": f"{prompt} question {self.asked} of {time.time_ns()}"}]
        tokens = count or self.sizes.tokens
        body = {"model": way.model, "messages": messages, "max_tokens": tokens, "seed": self.sizes.pace_ms}
        return await streamed_run(self.http, f"{self.stack.webui_url}/api/chat/completions", body)

    async def check(self) -> float:
        took = []
        body = {"model": "Qwen/Qwen3Guard-Gen-0.6B", "messages": [{"role": "user", "content": "hello"}]}
        for _ in range(self.sizes.rounds):
            started = time.monotonic()
            url = f"{self.guard}/v1/chat/completions"
            (await self.http.post(url, json=body | {"max_tokens": 1})).raise_for_status()
            took.append(time.monotonic() - started)
        return statistics.median(took) * 1000

    async def alone(self, name: str, way: Way) -> dict[str, Figure]:
        first, total, calls = [], [], []
        for _ in range(self.sizes.rounds + 1):
            with self.on(NONE):
                bare = await self.ask(NONE)
            with self.on(way):
                await self.judged()
                ours = await self.ask(way)
            if ours.text != bare.text or not bare.text:
                raise RuntimeError(f"a safe answer was changed: {ours.text[:200]!r}, not {bare.text[:200]!r}")
            first.append((ours.first - bare.first) * 1000)
            total.append((ours.total - bare.total) * 1000)
            calls.append(len(await self.judged()))
        with self.on(way):
            leaked = sum([await self.leaked(way) for _ in range(self.sizes.rounds)])
        # The first round starts what the others have.
        return {
            f"{name}ttft_added_ms": Figure(statistics.median(first[1:]), "to the first text, median", "<= 40"),
            f"{name}total_added_ms": Figure(statistics.median(total[1:]), "to the end, median", "<= check_ms + 15"),
            f"{name}leaked_chars": Figure(leaked, f"unsafe characters, {self.sizes.rounds} unsafe answers", "0"),
            f"{name}guard_calls": Figure(max(calls), "per answer, its prompt included", "<= 12"),
        }

    async def leaked(self, way: Way) -> int:
        """How much of an unsafe answer came from the unsafe token on."""
        before = "".join(token(number, unsafe=True) for number in range(UNSAFE_AT))
        shown = (await self.ask(way, "unsafe", 1000)).text.split("\n\n")[0]
        return len(shown) if not before.startswith(shown.rstrip()) else max(0, len(shown) - len(before))

    async def together(self, name: str, count: int, ours: Way, empty: Way) -> dict[str, Figure]:
        rounds: list[tuple[float, float]] = []
        for _ in range(self.sizes.load_rounds):
            bare, nothing, guarded = [await self.load(way, count) for way in (NONE, empty, ours)]
            rounds.append((guarded.cpu / nothing.cpu, guarded.waited - bare.waited))
        ratio, blocked = (statistics.median(values) for values in zip(*rounds, strict=True))
        figures = {
            f"{name}cpu_ratio_{count}": Figure(
                ratio, f"processor time for a token over a Function that does nothing, {count} streams", "<= 1.25"
            )
        }
        if count == 64:
            meaning = "longest wait of an unrelated request beside 64 streams, over that without the Function"
            figures[f"{name}blocked_ms"] = Figure(blocked, meaning, "<= 50")
        return figures

    async def load(self, way: Way, count: int) -> Load:
        with self.on(way):
            await self.ask(way)
            spent = self.cpu()
            reading = asyncio.gather(*(self.ask(way) for _ in range(count)))
            waited = await self.waited(reading)
            cpu = self.cpu() - spent
        runs: list[Run] = reading.result()
        texts = Counter(run.text for run in runs)
        if len(texts) > 1:
            raise RuntimeError(f"answers differ: {[text[:200] for text in texts]}")
        return Load(cpu / (count * self.sizes.tokens) * 1000, waited)

    async def waited(self, reading: asyncio.Future[Any]) -> float:
        """Milliseconds of the longest request for Open WebUI's version meanwhile."""
        longest = 0.0
        async with httpx.AsyncClient(base_url=self.stack.webui_url, timeout=PATIENCE, trust_env=False) as client:
            while not reading.done():
                begun = time.monotonic()
                (await client.get("/api/version")).raise_for_status()
                longest = max(longest, time.monotonic() - begun)
                await asyncio.sleep(_PAUSE)
        return longest * 1000

    def cpu(self) -> float:
        """Seconds of processor time that Open WebUI has used. Unlike wall time, independent of other load."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def judged(self) -> list[str]:
        """What the guard was asked about since the last call."""
        return list((await self.http.get(f"{self.guard}/judged")).json())


if __name__ == "__main__":
    main()
