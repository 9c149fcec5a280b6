"""Growth of the cost with the length of a chat: `make bench-growth`.

One run on one machine: the real Pipelines server (one worker) with both built plugins and with a filter that does
nothing, to measure the server's own cost for the same bodies. A stub guard and a chat model run in their own processes.
Then real vLLM with the demo guard, for its prefix cache. The last line is one JSON object.
"""

import argparse
import asyncio
import tempfile
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.bystander import beside_adversarial_prompts, beside_long_chat
from benchmarks.command import Figure, add_guard_options, demo_guard, parser, report
from benchmarks.growth_import import import_ms, upload_block_s
from benchmarks.guard_prefix import uncached_tokens_ratio
from benchmarks.host_calls import MODELS, PROBE_FILE, RELAY_FILE, HostCalls
from benchmarks.long_chats import LANGUAGES, Chat, adversarial_prompts
from benchmarks.newest_turn import Cost, cold_seconds, newest_turn
from benchmarks.streamed_run import new_http
from tests.stands.processes.pipelines_server import FILTER, pipelines_server
from tests.stands.processes.stub_processes import counting_guard_process, paced_model_process
from tests.stands.waiting import PATIENCE

COLD_GUARD_SECONDS = 0.02

Costs = dict[tuple[str, int], Cost]


class Sizes(NamedTuple):
    """How much is measured."""

    turns: tuple[int, ...] = (10, 50, 100, 200, 400)
    """Lengths of chats."""
    cold_turns: tuple[int, int] = (100, 400)
    """Lengths of chats that were never seen."""
    languages: tuple[str, ...] = tuple(LANGUAGES)
    rounds: int = 6
    adversarial_kinds: tuple[str, ...] = tuple(adversarial_prompts(1000))
    adversarial_rounds: int = 2
    adversarial_chars: int = 1_000_000
    loads: int = 5
    """Of each file of dist/."""
    prefix_turns: tuple[range, range] = (range(4, 16, 2), range(40, 80, 2))
    """Lengths of chats with real vLLM."""


QUICK = Sizes(
    turns=(4, 8),
    cold_turns=(4, 8),
    languages=("English",),
    rounds=1,
    adversarial_kinds=("escapes",),
    adversarial_rounds=1,
    adversarial_chars=2000,
    loads=1,
    prefix_turns=(range(4, 6, 2), range(40, 42, 2)),
)


def main() -> None:
    console = Console()
    options = _options()
    sizes = QUICK if options.quick else Sizes()
    sizes = sizes._replace(turns=options.turns or sizes.turns, languages=options.languages or sizes.languages)
    with ExitStack() as stack:
        guard, model = stack.enter_context(counting_guard_process()), stack.enter_context(paced_model_process())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variables = {
            "QWEN3GUARD_GUARD_BASE_URL": f"{guard}/v1",
            "QWEN3GUARD_UPSTREAM_BASE_URLS": f"{model}/v1",
            # A long timeout, so that the full cost is measured and no check is cancelled.
            "QWEN3GUARD_TIMEOUT_SECONDS": f"{PATIENCE:g}",
            "RELAY_UPSTREAM": f"{model}/v1",
        }
        files = [PROBE_FILE, RELAY_FILE]
        server = stack.enter_context(pipelines_server("pipelines", folder, [FILTER, MODELS], variables, files=files))
        costs, figures = asyncio.run(_measure(server.url, guard, sizes, console))
        if not options.no_vllm:
            console.print("prefix cache: real vLLM with the demo guard")
            with demo_guard(options, console) as guard_server:
                ratio = asyncio.run(uncached_tokens_ratio(server.url, guard_server, sizes.prefix_turns))
            meaning = "prompt tokens that the guard computes for the newest turn, 60 turns over 10"
            figures["uncached_tokens_ratio"] = Figure(ratio, meaning, "<= 2")
        console.print("loading and uploading every file of dist/")
        blocked = upload_block_s(server)
    slowest, taken = max(import_ms(sizes.loads).items(), key=itemgetter(1))
    figures["import_ms"] = Figure(
        taken, f"to load {slowest}, the slowest of them, without the host's own packages", "<= 150"
    )
    figures["upload_block_s"] = Figure(blocked, "longest silence of a server while all are uploaded", "<= 5")
    _print_costs(costs, console)
    report(figures, console)


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    add_guard_options(options)
    options.add_argument("--turns", type=int, nargs="+", help="lengths of chats")
    options.add_argument("--languages", nargs="+", choices=list(LANGUAGES))
    options.add_argument("--no-vllm", action="store_true", help="leave out what needs real vLLM")
    return options.parse_args()


async def _measure(url: str, guard: str, sizes: Sizes, console: Console) -> tuple[Costs, dict[str, Figure]]:
    turns, languages = sizes.turns, sizes.languages
    shorter, longer = sizes.cold_turns
    async with new_http() as http:
        calls = HostCalls(http, url, guard)
        costs: Costs = {}
        beside = []
        for number, language in enumerate(languages):
            chat = Chat(language, number)
            for length in turns:
                console.print(f"{language}, {length} turns")
                costs[language, length] = await newest_turn(calls, chat, language, length, sizes.rounds)
            beside.append(await beside_long_chat(calls, chat, max(turns), sizes.rounds))
        console.print("new chats")
        await calls.set_guard_seconds(COLD_GUARD_SECONDS)
        cold = {length: await cold_seconds(calls, length, 10_000 + length) for length in sizes.cold_turns}
        await calls.set_guard_seconds(0)
        console.print(f"prompts of {sizes.adversarial_chars} characters")
        kinds, chars, rounds = sizes.adversarial_kinds, sizes.adversarial_chars, sizes.adversarial_rounds
        adversarial = await beside_adversarial_prompts(calls, kinds, chars, rounds, console.print)
    least, most = min(turns), max(turns)

    def ratio(kind: str) -> float:
        pairs = [(getattr(costs[name, most], kind), getattr(costs[name, least], kind)) for name in languages]
        return float(max(long / short for long, short in pairs))

    filter_ratio, guarded_ratio = ratio("filter_cpu"), ratio("guarded_cpu")
    over = f"{most} turns over {least}, worst language"
    return costs, {
        "cpu_ratio": Figure(max(filter_ratio, guarded_ratio), f"processor time of the newest turn, {over}", "<= 3"),
        "filter_cpu_ratio": Figure(filter_ratio, "of inlet and outlet", "<= 3"),
        "guarded_cpu_ratio": Figure(guarded_ratio, "of a guarded request with all checks of its answer", "<= 3"),
        "loop_blocked_ms": Figure(
            max(cost.block for cost in costs.values()), "longest block of the event loop beyond the server's", "<= 10"
        ),
        "bystander_ttft_added_ms": Figure(max(beside), f"another user's first text, during {most} turns", "<= 10"),
        "bystander_adversarial_ttft_added_ms": Figure(
            adversarial, f"the same, during the worst prompt of {chars} characters", "<= 50"
        ),
        "tokenize_calls": Figure(
            max(costs[name, most].tokenize for name in languages), f"for a guarded answer after the first, {most}", "0"
        ),
        "cold_s_ratio": Figure(
            cold[longer] / cold[shorter], f"a new chat of {longer} turns over one of {shorter}", "<= 4.5"
        ),
    }


def _print_costs(costs: Costs, console: Console) -> None:
    headings = ("filter CPU ms", "guarded CPU ms", "server CPU ms", "loop blocked ms", "/tokenize")
    table = Table("language", "turns", *headings, title="the newest turn")
    for (language, turns), cost in costs.items():
        table.add_row(language, str(turns), *(f"{value:.1f}" for value in cost))
    console.print(table)


if __name__ == "__main__":
    main()
