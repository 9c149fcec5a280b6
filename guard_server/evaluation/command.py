"""`qwen3guard eval`: from the options to the report."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from guard_server.errors import UnreadableData
from guard_server.evaluation.ask.results import Result, Results, open_results
from guard_server.evaluation.ask.runner import Target, found, left, run
from guard_server.evaluation.ask.sentence_places import located
from guard_server.evaluation.data.attacks import disguised
from guard_server.evaluation.data.rows import Row
from guard_server.evaluation.data.sources import chosen
from guard_server.evaluation.figures.metrics import judged
from guard_server.evaluation.figures.timeliness import probes
from guard_server.evaluation.report import markdown, picture, report

MARKDOWN = "report.md"
RESULTS = "results.jsonl"
PUBLISHED = "published"


@dataclass(frozen=True)
class EvaluationOptions:
    """The options of the command line."""

    target: Target
    data: list[str]
    out: Path
    splits: list[str] = field(default_factory=list)
    """Only rows of these splits; all if it is empty."""
    sample: int | None = None
    """At most this many rows of each set, always the same ones."""
    retry: bool = False
    attacks: list[str] = field(default_factory=list)
    """Obfuscations by name: see `attacks`."""
    compare: list[str] = field(default_factory=list)
    wanted: float | None = None
    """False-positive rate to search a threshold for."""


def evaluate(options: EvaluationOptions, out: Console) -> None:
    """Ask for the missing verdicts and write the report. An interrupted run writes a report of what it has.

    Raises:
        GuardServerError: see `guard_server.errors`.
    """
    rows = _sampled(chosen(options.data, options.splits), options.sample)
    others = [report.load(Path(name)) for name in options.compare if name != PUBLISHED]
    target = asyncio.run(found(options.target))
    if options.attacks and target.kind == "stream":
        raise UnreadableData(
            "A Stream model has no second reading to compare.", "Name a Qwen3Guard-Gen with --guard-url."
        )
    if options.attacks:
        rows = list(disguised(rows, options.attacks))
    if target.kind == "stream":
        rows = asyncio.run(located(rows, target.url, target.key))
    options.out.mkdir(parents=True, exist_ok=True)
    with open_results(options.out / RESULTS, target.url, target.model) as results:
        try:
            _ask(target, rows, results, options.retry, out)
            if target.kind == "stream":
                late = probes(judged(rows, results.known))
                if late:
                    _ask(target, late, results, options.retry, out)
        except KeyboardInterrupt:
            out.print("Stopped. Run the same command to continue.")
            raise
        finally:
            made = report.build(
                rows,
                results.known,
                kind=target.kind,
                endpoint=target.url,
                model=target.model,
                data=_described(options),
                wanted=options.wanted,
            )
            made.write(options.out)
            picture.draw(made, options.out)
            text = markdown.render(made, picture.NAME, others, PUBLISHED in options.compare)
            (options.out / MARKDOWN).write_text(text, encoding="utf-8")
            out.print(f"{made.judged} of {made.rows} rows have a verdict. Report: {options.out / MARKDOWN}")


def _ask(target: Target, rows: Sequence[Row], results: Results, retry: bool, out: Console) -> None:
    todo = list(left(rows, results, retry).values())
    unique = len({row.key for row in rows})
    out.print(f"{len(rows)} rows, {unique} conversations; {unique - len(todo)} already judged, {len(todo)} to judge.")
    if todo:
        with _Bar(out, len(todo)) as bar:
            asyncio.run(run(target, todo, results, bar.tick))


class _Bar:
    """The progress bar, with counts of missing verdicts."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[missing]}"),
            console=console,
        )
        self._task = self._progress.add_task("asking", total=total, missing="")
        self._missing: dict[str, int] = defaultdict(int)

    def tick(self, result: Result) -> None:
        if result.outcome != "verdict":
            self._missing[result.outcome] += 1
        missing = ", ".join(f"{outcome} {count}" for outcome, count in self._missing.items())
        self._progress.update(self._task, advance=1, missing=missing)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _sampled(rows: Sequence[Row], size: int | None) -> list[Row]:
    """The rows with the lowest hashes: independent of their order, and a larger sample contains each smaller one."""
    if size is None:
        return list(rows)
    sets: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sets[row.set].append(row)
    return [row for group in sets.values() for row in sorted(group, key=lambda row: row.key)[:size]]


def _described(options: EvaluationOptions) -> list[str]:
    chosen: Iterable[str] = [f"split {split}" for split in options.splits]
    size = [f"{options.sample} rows of each set"] if options.sample else []
    attacks: Iterable[str] = [f"attack {name}" for name in options.attacks]
    return [*options.data, *chosen, *size, *attacks]
