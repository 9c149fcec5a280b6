"""What the benchmarks' commands have in common: their options, the guard that they measure, and the last line."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.stands.processes.guard_process import guard_process


class Figure(NamedTuple):
    """One of the figures in the last line."""

    value: float
    meaning: str
    target: str = ""


class RunningGuard(NamedTuple):
    """A server with the demo guard."""

    root: str
    """Without `/v1`."""
    key: str


def parser(description: str) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(description=description.partition("\n")[0])
    made.add_argument("--quick", action="store_true", help="try every step with tiny sizes; the figures mean nothing")
    return made


def add_guard_options(to: argparse.ArgumentParser) -> None:
    """Options of a benchmark that needs real vLLM with the demo guard."""
    to.add_argument("--guard-url", help="a running `serve demo`, as http://…/v1, instead of one that is started")
    to.add_argument("--guard-key", default="EMPTY", help="its API key")


@contextmanager
def demo_guard(options: argparse.Namespace, console: Console) -> Iterator[RunningGuard]:
    """The guard that `add_guard_options` name, or one that is started."""
    if options.guard_url:
        yield RunningGuard(options.guard_url.rstrip("/").removesuffix("/v1"), options.guard_key)
        return
    console.print("starting vLLM with the demo guard")
    with guard_process("demo") as guard:
        guard.wait_for("Try it:")
        yield RunningGuard(guard.root, options.guard_key)


def report(figures: dict[str, Figure], console: Console) -> None:
    """Show the figures as a table, and print them as one JSON object: the last line."""
    table = Table("figure", "value", "target", "what it is")
    for name, figure in figures.items():
        table.add_row(name, f"{figure.value:.2f}", figure.target, figure.meaning)
    console.print(table)
    print(json.dumps({name: round(figure.value, 3) for name, figure in figures.items()}))
