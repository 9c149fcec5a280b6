"""What a verdict costs beside the model, on real vLLM with the demo guard: `make bench-verdicts`.

One run on one machine, every text new. In turns of a second or less, so that whatever else the machine does meets all
of them: single verdicts over chat completions and over the lean route, so many in flight; ready-made prompts in lists
over `/v1/completions`, and as many texts in lists over `/v1/moderations`. A ratio is the median over the rounds, each
of which compares its own turns. Then single verdicts one after another. The last line is one JSON object.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import aiohttp
from jinja2 import Environment
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from guard_server.catalog import DEMO_FOLDER
from moderation.prefill import VERDICT_PREFILL, prefilled
from moderation.verdict import Severity
from tests.integration.guard_process import guard_process

IN_FLIGHT = 32
SINGLES = 160
LISTS = 10
"""Lists of `IN_FLIGHT` texts, two at a time."""
ROUNDS = 16
ALONE = 100
URL = os.environ.get("GUARD_URL")
"""A server that runs already, as `serve demo` starts it; one is started where this is not set."""

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
# Another run's texts are not these, so nothing is remembered of them.
_RUN = random.randrange(10**6)
_NUMBERS = count()

Ask = Callable[[aiohttp.ClientSession], Awaitable[None]]


def main() -> None:
    console = Console(stderr=True)
    if URL:
        figures = asyncio.run(_measure(URL, console))
    else:
        console.print("starting vLLM with the demo guard")
        with guard_process("demo") as guard:
            guard.wait_for("Try it:")
            figures = asyncio.run(_measure(guard.url, console))
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, str(value))
    console.print(table)
    print(json.dumps(figures))


async def _measure(url: str, console: Console) -> dict[str, float]:
    ways: dict[str, tuple[Ask, int, int]] = {
        "chat": (_chat, SINGLES, IN_FLIGHT),
        "lean": (_lean, SINGLES, IN_FLIGHT),
        "completions": (_completions, LISTS, 2),
        "moderations": (_moderations, LISTS, 2),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    async with aiohttp.ClientSession(url + "/") as session:
        for _ in range(20):
            for ask, _, _ in ways.values():
                await ask(session)
        for number in range(ROUNDS):
            console.print(f"round {number + 1} of {ROUNDS}")
            for name, (ask, requests, in_flight) in ways.items():
                taken = await _together(session, ask, requests, in_flight)
                verdicts = requests * (1 if in_flight == IN_FLIGHT else IN_FLIGHT)
                rates[name].append(verdicts / taken)
        alone: dict[str, list[float]] = {"chat": [], "lean": []}
        for _ in range(ALONE):
            for name, times in alone.items():
                times.append(await _seconds(ways[name][0](session)))
    figures = {f"{name}_per_second": round(statistics.median(rates[name]), 1) for name in ways}
    return figures | {
        "lean_ratio": _ratio(rates["lean"], rates["chat"]),
        "moderations_ratio": _ratio(rates["moderations"], rates["completions"]),
        "chat_alone_ms": round(statistics.median(alone["chat"]) * 1000, 2),
        "lean_alone_ms": round(statistics.median(alone["lean"]) * 1000, 2),
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(ours, theirs, strict=True)), 2)


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
    """Seconds for so many requests, so many of them at a time."""
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
    """A plain one that was never sent before, of about forty tokens."""
    return f"Walk {_RUN}.{next(_NUMBERS)}: {' '.join(random.choices(_WORDS, k=25))}."


_LABELS = [
    Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json")).token_to_id(f" {severity}") for severity in Severity
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
