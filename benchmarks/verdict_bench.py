"""The cost of a verdict in addition to the model, on real vLLM with the demo guard: `make bench-verdicts`.

One run on one machine; each text is new. Four measurements alternate, each of a second or less, so that other load on
the machine affects all of them: single verdicts over chat completions and over the lean route, `IN_FLIGHT` at a time;
lists of ready-made prompts over `/v1/completions`, and lists of texts over `/v1/moderations`. A ratio is the median of
the ratios within each round. Then single verdicts one after another. The last line is one JSON object.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import aiohttp
from jinja2 import Environment
from rich.console import Console
from tokenizers import Tokenizer

from benchmarks.command import Figure, RunningGuard, add_guard_options, demo_guard, parser, report
from guard_server.catalog import DEMO_FOLDER, DEMO_TOKENIZER
from moderation.endpoint.prefill import VERDICT_PREFILL, prefilled
from moderation.verdict import Severity

IN_FLIGHT = 32


class Sizes(NamedTuple):
    """How much is measured."""

    warm_up: int = 20
    singles: int = 160
    lists: int = 10
    """Lists of `IN_FLIGHT` texts, two at a time."""
    rounds: int = 16
    alone: int = 100


QUICK = Sizes(1, IN_FLIGHT, 2, 1, 1)

_WORDS = (
    "we walked",
    "along",
    "the river",
    "talked",
    "bread",
    "flowers",
    "music",
    "rain",
    "gardens",
    "soup",
    "letters",
)
# Makes the texts of each run different, so that none of them is cached.
_RUN = random.randrange(10**6)
_NUMBERS = count()

Ask = Callable[[aiohttp.ClientSession], Awaitable[None]]


def main() -> None:
    console = Console(stderr=True)
    options_of = parser(__doc__)
    add_guard_options(options_of)
    options = options_of.parse_args()
    with demo_guard(options, console) as guard:
        figures = asyncio.run(_measure(guard, QUICK if options.quick else Sizes(), console))
    report(figures, console)


async def _measure(guard: RunningGuard, sizes: Sizes, console: Console) -> dict[str, Figure]:
    ways: dict[str, tuple[Ask, int, int]] = {
        "chat": (_chat, sizes.singles, IN_FLIGHT),
        "lean": (_lean, sizes.singles, IN_FLIGHT),
        "completions": (_completions, sizes.lists, 2),
        "moderations": (_moderations, sizes.lists, 2),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    headers = {"Authorization": f"Bearer {guard.key}"}
    # vLLM closes idle connections after five seconds.
    connector = aiohttp.TCPConnector(keepalive_timeout=2)
    async with aiohttp.ClientSession(f"{guard.root}/v1/", headers=headers, connector=connector) as session:
        for _ in range(sizes.warm_up):
            for ask, _, _ in ways.values():
                await ask(session)
        for number in range(sizes.rounds):
            console.print(f"round {number + 1} of {sizes.rounds}")
            for name, (ask, requests, in_flight) in ways.items():
                taken = await _together(session, ask, requests, in_flight)
                verdicts = requests * (1 if in_flight == IN_FLIGHT else IN_FLIGHT)
                rates[name].append(verdicts / taken)
        alone: dict[str, list[float]] = {"chat": [], "lean": []}
        for _ in range(sizes.alone):
            for name, times in alone.items():
                times.append(await _seconds(ways[name][0](session)))
    figures = {
        f"{name}_per_second": Figure(statistics.median(rates[name]), "verdicts per second, median") for name in ways
    }
    return figures | {
        "lean_ratio": Figure(_ratio(rates["lean"], rates["chat"]), "the lean route over chat completions"),
        "moderations_ratio": Figure(
            _ratio(rates["moderations"], rates["completions"]), "lists over /v1/moderations over ready-made prompts"
        ),
        "chat_alone_ms": Figure(statistics.median(alone["chat"]) * 1000, "one verdict after another"),
        "lean_alone_ms": Figure(statistics.median(alone["lean"]) * 1000, "the same over the lean route"),
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


async def _chat(session: aiohttp.ClientSession) -> None:
    body = {
        "model": "qwen3guard-demo",
        "messages": [_message(_text())],
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": True,
        "logprob_token_ids": _LABELS,
        **prefilled(VERDICT_PREFILL),
    }
    reply = await _post(session, "chat/completions", body)
    _check(reply["choices"][0]["message"]["content"].strip() in ("Safe", "Controversial", "Unsafe"), reply)


async def _lean(session: aiohttp.ClientSession) -> None:
    reply = await _post(session, "guard/verdicts", {"conversations": [[_message(_text())]]})
    _check(reply["verdicts"][0]["severity"] is not None, reply)


async def _completions(session: aiohttp.ClientSession) -> None:
    prompts = [_prompt(_text()) for _ in range(IN_FLIGHT)]
    body = {"model": "qwen3guard-demo", "prompt": prompts, "temperature": 0, "max_tokens": 1}
    reply = await _post(session, "completions", body)
    _check(len(reply["choices"]) == IN_FLIGHT, reply)


async def _moderations(session: aiohttp.ClientSession) -> None:
    reply = await _post(session, "moderations", {"input": [_text() for _ in range(IN_FLIGHT)]})
    _check(len(reply["results"]) == IN_FLIGHT, reply)


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Any:
    async with session.post(path, json=body) as reply:
        found = await reply.json()
        _check(reply.status == 200, found)
        return found


async def _together(session: aiohttp.ClientSession, ask: Ask, requests: int, in_flight: int) -> float:
    """Seconds for `requests` requests, `in_flight` at a time."""
    left: Iterator[int] = iter(range(requests))

    async def one_after_another() -> None:
        for _ in left:
            await ask(session)

    return await _seconds(asyncio.gather(*(one_after_another() for _ in range(in_flight))))


async def _seconds(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


def _text() -> str:
    """A new harmless text of about forty tokens."""
    return f"Walk {_RUN}.{next(_NUMBERS)}: {' '.join(random.choices(_WORDS, k=25))}."


_LABELS = [
    Tokenizer.from_file(str(DEMO_TOKENIZER / "tokenizer.json")).token_to_id(f" {severity}") for severity in Severity
]
_TEMPLATE = Environment().from_string((DEMO_FOLDER / "chat_template.jinja").read_text(encoding="utf-8"))


def _prompt(text: str) -> str:
    return _TEMPLATE.render(messages=[_message(text)]) + VERDICT_PREFILL


def _message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _check(fine: bool, reply: Any) -> None:
    if not fine:
        sys.exit(f"unexpected: {str(reply)[:500]}")


if __name__ == "__main__":
    main()
