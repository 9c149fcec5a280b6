"""All figures of one run, as in report.json."""

import json
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from guard_server.errors import UnreadableResults
from guard_server.evaluation.ask.results import Result
from guard_server.evaluation.data.rows import Row
from guard_server.evaluation.figures.calibration import Reliability, reliability
from guard_server.evaluation.figures.metrics import JudgedRow, RowFigures, figures, judged
from guard_server.evaluation.figures.refusals import Refusals, refusals
from guard_server.evaluation.figures.speed import Speed, speed
from guard_server.evaluation.figures.threshold import Cut, search
from guard_server.evaluation.figures.timeliness import RULES, Timeliness, timeliness
from moderation.policy import HARMFUL, Strictness
from moderation.verdict import Kind

JSON = "report.json"
_Group = TypeVar("_Group", bound=str)
_Figure = TypeVar("_Figure", bound=BaseModel)


class EvaluationReport(BaseModel):
    """The report of one guard on some data."""

    made: str
    """Date and time, UTC."""
    kind: Literal["gen", "stream"]
    endpoint: str
    model: str
    data: list[str]
    """The data named on the command line, with the options that select rows."""
    rows: int
    unasked: int
    """Number of rows that the run did not reach. They are in no figure."""
    tasks: dict[Kind, RowFigures]
    sets: dict[str, RowFigures]
    languages: dict[Kind, dict[str, RowFigures]]
    sets_by_language: dict[str, dict[str, RowFigures]]
    """Only sets in more than one language."""
    refusals: dict[str, Refusals]
    """By set, for sets with refusal labels. Empty for a Stream model, which does not report refusals."""
    reliability: dict[Kind, dict[Strictness, Reliability]]
    """Empty if there are no probabilities."""
    timeliness: dict[str, dict[str, Timeliness]]
    """For a Stream model, by set and rule, for sets with marked first harmful sentences."""
    not_located: int
    """Number of rows whose first harmful sentence is marked in tokens, but whose text is not in the answer."""
    speed: Speed
    wanted_false_positive_rate: float | None
    thresholds: dict[str, list[Cut]]
    """For prompts, responses and both; empty if no threshold was requested."""

    @property
    def judged(self) -> int:
        """Number of rows with a verdict."""
        return sum(task.verdicts for task in self.tasks.values())

    def write(self, folder: Path) -> None:
        """As JSON with a line for each group of rows."""
        (folder / JSON).write_text(_in_lines(self.model_dump(mode="json")) + "\n", encoding="utf-8")


def build(
    rows: Sequence[Row],
    results: Mapping[str, Result],
    *,
    kind: Literal["gen", "stream"],
    endpoint: str,
    model: str,
    data: list[str],
    wanted: float | None,
) -> EvaluationReport:
    """The figures of those `rows` that have a result.

    Args:
        rows: all of them. Rows with the same conversation share a result.
        results: by the rows' keys.
        wanted: the false-positive rate to find a threshold for.
    """
    known = judged(rows, results)
    by_task = _by(known, lambda one: one.row.task)
    by_set = _by(known, lambda one: one.row.set)
    cuts: dict[str, list[Cut]] = {}
    if wanted is not None:
        for name, group in [*by_task.items(), ("both", known)]:
            cuts[name] = [cut for mode in HARMFUL if (cut := search(group, wanted, mode))]
    return EvaluationReport(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=kind,
        endpoint=endpoint,
        model=model,
        data=data,
        rows=len(rows),
        unasked=len(rows) - len(known),
        tasks={task: figures(group, curves=True) for task, group in by_task.items()},
        sets={name: figures(group) for name, group in by_set.items()},
        languages={task: _by_language(group) for task, group in by_task.items()},
        sets_by_language={name: parts for name, group in by_set.items() if len(parts := _by_language(group)) > 1},
        refusals={} if kind == "stream" else _present({name: refusals(group) for name, group in by_set.items()}),
        reliability={
            task: by_mode
            for task, group in by_task.items()
            if (by_mode := _present({mode: reliability(group, mode) for mode in HARMFUL}))
        },
        timeliness=_timeliness(by_set, results) if kind == "stream" else {},
        not_located=sum(bool(row.sentence) and row.span is None for row in rows) if kind == "stream" else 0,
        speed=speed(list({one.result.key: one.result for one in known}.values())),
        wanted_false_positive_rate=wanted,
        thresholds=cuts,
    )


def load(path: Path) -> EvaluationReport:
    """The report of another run.

    Args:
        path: the folder of that run, or the file itself.

    Raises:
        UnreadableResults: it does not exist, or is not a report of this version.
    """
    file = path / JSON if path.is_dir() else path
    try:
        return EvaluationReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise UnreadableResults(
            f"{file} is not the report of a run: {str(error).splitlines()[0]}",
            "--compare takes `published`, or the folder that an earlier run named with --out.",
        ) from error


def _in_lines(value: Any, depth: int = 2) -> str:
    """JSON; objects inside `depth` others are on one line each."""
    if not (depth and isinstance(value, dict) and any(isinstance(part, dict) for part in value.values())):
        return json.dumps(value, ensure_ascii=False)
    lines = [f"{json.dumps(name)}: {_in_lines(part, depth - 1)}" for name, part in value.items()]
    return "{\n" + textwrap.indent(",\n".join(lines), " ") + "\n}"


def _timeliness(
    sets: Mapping[str, Sequence[JudgedRow]], results: Mapping[str, Result]
) -> dict[str, dict[str, Timeliness]]:
    found = {name: {rule: timeliness(group, results, rule) for rule in RULES} for name, group in sets.items()}
    return {name: made for name, rules in found.items() if (made := _present(rules))}


def _present(figures: Mapping[_Group, _Figure | None]) -> dict[_Group, _Figure]:
    return {name: figure for name, figure in figures.items() if figure is not None}


def _by_language(judged: Sequence[JudgedRow]) -> dict[str, RowFigures]:
    return {lang: figures(group) for lang, group in _by(judged, lambda one: one.row.lang).items()}


def _by(known: Iterable[JudgedRow], group: Callable[[JudgedRow], _Group]) -> dict[_Group, list[JudgedRow]]:
    groups: dict[_Group, list[JudgedRow]] = defaultdict(list)
    for one in known:
        groups[group(one)].append(one)
    return {name: groups[name] for name in sorted(groups)}
