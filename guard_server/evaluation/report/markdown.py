"""A report as Markdown. Rates and F1 are in percent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from guard_server.evaluation.figures.calibration import BINS as SCORE_BINS
from guard_server.evaluation.figures.metrics import Binary, RowFigures
from guard_server.evaluation.figures.timeliness import BINS
from guard_server.evaluation.report.published import f1, models, published, refusal_f1
from guard_server.evaluation.report.report import EvaluationReport
from moderation.verdict import Severity

_DEMO = "qwen3guard-demo"
_TASKS = {"prompt": "Prompts", "response": "Responses", "both": "Both"}


def render(report: EvaluationReport, picture: str, others: Sequence[EvaluationReport], with_published: bool) -> str:
    """The whole text.

    Args:
        picture: file name of the picture.
        others: reports to compare with this one.
        with_published: whether to include Qwen's published figures.
    """
    parts = [f"# Evaluation of {report.model}", *_warnings(report), _what(report), f"![figures]({picture})"]
    parts += ["## By set", _groups(report.sets, "Set")]
    if report.sets_by_language:
        parts += ["## By set and language"]
        parts += [f"{name}:\n\n{_groups(langs, 'Language')}" for name, langs in report.sets_by_language.items()]
    for task, figures in report.tasks.items():
        parts += [f"## {_TASKS[task]}", _groups(report.languages[task], "Language", total=figures)]
        parts += [_confusion(figures)]
        if figures.categories:
            parts += [_categories(figures)]
    if report.refusals:
        parts += ["## Refusals", _refusals(report)]
    if report.reliability:
        parts += ["## Probabilities", _reliability(report)]
    if report.timeliness or report.not_located:
        parts += ["## How soon", _timeliness(report)]
    parts += ["## Speed and cost", _speed(report)]
    if report.wanted_false_positive_rate is not None:
        parts += ["## Threshold", _thresholds(report, report.wanted_false_positive_rate)]
    if others or with_published:
        parts += ["## Side by side", _side_by_side(report, others, with_published)]
    if with_published:
        parts += ["## Published", *_published()]
    return "\n\n".join(parts) + "\n"


def _warnings(report: EvaluationReport) -> list[str]:
    notes = []
    if report.model.startswith(_DEMO):
        notes.append(
            "**The demo guard: a demonstration, not for production.** Serve gen-0.6b, stream-0.6b or larger instead."
        )
    if report.unasked:
        notes.append(f"**{report.unasked} of {report.rows} rows were not judged.** Run the same command again.")
    asked = report.rows - report.unasked
    if missing := asked - report.judged:
        counts: dict[str, int] = {}
        for figures in report.tasks.values():
            for outcome, count in figures.outcomes.items():
                counts[outcome] = counts.get(outcome, 0) + count
        kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items() if kind != "verdict" and count)
        notes.append(
            f"**{missing} of {asked} rows have no verdict ({kinds}).** They count neither as flagged nor as passed: "
            "all figures are of the other rows. The filter withholds such turns."
        )
    if report.judged and not any(figures.with_probabilities for figures in report.tasks.values()):
        notes.append("The endpoint gives no probabilities: no AUC, no precision-recall curve, no threshold.")
    return notes


def _what(report: EvaluationReport) -> str:
    facts = {
        "Model": report.model,
        "Endpoint": report.endpoint,
        "Data": ", ".join(report.data),
        "Rows": f"{report.rows}, {report.judged} with a verdict",
        "Made": report.made,
    }
    text = (
        "`strict` counts Controversial as harmful, `loose` as harmless; rows labelled Controversial are left out of "
        "both and are in the tables of labels and verdicts only. FPR: the part of the harmless rows that is flagged. "
        "A dash: the figure is undefined, such as precision without flagged rows."
    )
    return table(("", ""), facts.items()) + "\n\n" + text


def _groups(groups: Mapping[str, RowFigures], name: str, total: RowFigures | None = None) -> str:
    head = (name, "Rows", "No verdict", "Harmful", "strict F1", "P", "R", "FPR", "AUC")
    rows = dict(groups) | ({"all": total} if total and len(groups) > 1 else {})
    body = []
    for group, figures in rows.items():
        counts = (figures.rows, figures.rows - figures.verdicts, figures.strict.harmful)
        body.append((group, *counts, *_scores(figures.strict), *_scores(figures.loose)))
    return table((*head, "loose F1", "P", "R", "FPR", "AUC"), body)


def _scores(binary: Binary) -> tuple[str, ...]:
    shares = (binary.f1, binary.precision, binary.recall, binary.false_positive_rate)
    return (*map(percent, shares), "–" if binary.auc is None else f"{binary.auc:.3f}")


def _confusion(figures: RowFigures) -> str:
    verdicts = list(next(iter(figures.confusion.values())))
    body = [(label, *figures.confusion[label].values()) for label in Severity]
    return "Label and verdict:\n\n" + table(("Label", *verdicts), body)


def _categories(figures: RowFigures) -> str:
    text = (
        "Harmful rows whose categories are known. Flagged: not judged Safe. P, R and F1: the categories that the guard "
        f"named, compared with those of the data. Macro F1: {percent(figures.category_macro_f1)}."
    )
    body = [
        (category, one.rows, percent(one.flagged), percent(one.f1), percent(one.precision), percent(one.recall))
        for category, one in figures.categories.items()
    ]
    return text + "\n\n" + table(("Category", "Rows", "Flagged", "F1", "P", "R"), body)


def _refusals(report: EvaluationReport) -> str:
    text = (
        "Answers with a refusal label. No report: the guard did not say whether they refuse; these are in none of P, R "
        "and F1."
    )
    body = [
        (name, one.rows, one.refusals, one.unreported, *map(percent, (one.f1, one.precision, one.recall)))
        for name, one in report.refusals.items()
    ]
    return text + "\n\n" + table(("Set", "Answers", "Refusals", "No report", "F1", "P", "R"), body)


def _reliability(report: EvaluationReport) -> str:
    text = (
        "Of the rows with a score of 0.8, are 80 % harmful? ECE: the expected calibration error in percent, over "
        f"{SCORE_BINS} equal bins. Brier: the mean squared error of the score. Score: P(Unsafe), `strict` plus "
        "P(Controversial)."
    )
    body = [
        (_TASKS[task], mode, one.rows, percent(one.calibration_error), f"{one.brier:.3f}")
        for task, modes in report.reliability.items()
        for mode, one in modes.items()
    ]
    return text + "\n\n" + table(("", "Score", "Rows", "ECE", "Brier"), body)


def _timeliness(report: EvaluationReport) -> str:
    text = (
        "Answers with a verdict whose first harmful sentence is marked, in percent: where the first flag is. Exact "
        "hit: in that sentence. Within 128: before it, in it, or at most 128 tokens after it. Then how many answers, "
        "by the distance of the flag from the sentence in tokens. `as published`: the rule of Qwen's script."
    )
    body = [
        (name, rule, one.rows, percent(one.exact_hit), percent(one.within_128), *one.bins.values())
        for name, rules in report.timeliness.items()
        for rule, one in rules.items()
    ]
    if report.not_located:
        text += f" **Left out: {report.not_located} rows whose marked tokens do not give a text of the answer.**"
    return text + "\n\n" + table(("Set", "Rule", "Answers", "Exact hit", "Within 128", *BINS), body)


def _speed(report: EvaluationReport) -> str:
    speed = report.speed
    # A stream endpoint reports the number of tokens of answers, and generates none.
    tokens = "Tokens of answers" if report.kind == "stream" else "Prompt tokens"
    facts = {
        "Seconds for a verdict, p50 / p95": f"{_number(speed.p50_seconds, 3)} / {_number(speed.p95_seconds, 3)}",
        "Verdicts per second": _number(speed.verdicts_per_second, 2),
        "Asked at the same time": " and ".join(map(str, speed.concurrency)),
        "Requests for one verdict": _number(speed.requests_per_verdict, 2),
        f"{tokens}, in all / each": f"{speed.prompt_tokens} / {_number(speed.prompt_tokens_per_verdict)}",
        "Generated tokens, in all / each": f"{speed.generated_tokens} / {_number(speed.generated_tokens_per_verdict)}",
    }
    return table(("", ""), facts.items()) + "\n\nMeasured on this machine, which may have had other work."


def _thresholds(report: EvaluationReport, wanted: float) -> str:
    text = (
        f"The lowest threshold whose false-positive rate is at most {percent(wanted)} % on these rows: set the valves "
        "`strictness` and `block_threshold` to it; then a turn is refused if its score is at least that, whatever the "
        "model's own label. It holds for data like these; the interval is the uncertainty from chance alone (95 %)."
    )
    body = []
    for task, cuts in report.thresholds.items():
        for cut in cuts:
            low, high = cut.interval
            body.append(
                (
                    _TASKS[task],
                    cut.mode,
                    "none: block nothing" if cut.threshold is None else f"{cut.threshold:.4f}",
                    percent(cut.false_positive_rate),
                    f"{percent(low)} to {percent(high)}",
                    percent(cut.recall),
                    cut.safe,
                    cut.unsafe,
                )
            )
    head = ("For", "strictness", "block_threshold", "FPR", "Interval", "Recall", "Safe rows", "Unsafe rows")
    return text + "\n\n" + table(head, body)


def _side_by_side(report: EvaluationReport, others: Sequence[EvaluationReport], with_published: bool) -> str:
    runs = [report, *others]
    known = [
        model for model in models() if any(f1(name, model, "strict") or refusal_f1(name, model) for name in report.sets)
    ]
    columns = [f"{run.model} ({number})" for number, run in enumerate(runs, 1)] + (known if with_published else [])
    body = []
    for name in sorted({name for run in runs for name in run.sets}):
        cells = []
        for run in runs:
            figures = run.sets.get(name)
            cells.append(f"{percent(figures.strict.f1)} / {percent(figures.loose.f1)}" if figures else "–")
        for model in known if with_published else []:
            strict, loose = f1(name, model, "strict"), f1(name, model, "loose")
            cells.append(f"{strict.percent} / {loose.percent} (table {strict.table})" if strict and loose else "–")
        body.append((name, *cells))
    listed = "\n".join(f"- ({number}) {run.endpoint}, {run.made}" for number, run in enumerate(runs, 1))
    text = (
        "F1 in percent, strict / loose. A published figure has its table's number; the benchmark has the same name, "
        "but the report may have used other rows of it."
    )
    parts = [text, table(("Set", *columns), body)]
    if any(run.refusals for run in runs):
        refusals = _refusals_side_by_side(runs, known if with_published else [])
        parts += ["Refusals, F1 in percent; published figures are from table 7:", table(("Set", *columns), refusals)]
    return "\n\n".join([*parts, listed])


def _refusals_side_by_side(runs: Sequence[EvaluationReport], known: Sequence[str]) -> Iterator[list[object]]:
    for name in sorted({name for run in runs for name in run.refusals}):
        measured = [percent(run.refusals[name].f1) if name in run.refusals else "–" for run in runs]
        yield [name, *measured, *(refusal_f1(name, model) or "–" for model in known)]


def _published() -> list[str]:
    source = published().source
    parts = [
        f"{source.title}, {source.date} (arXiv {source.arxiv}; {source.repository} at {source.commit[:12]}). F1 in "
        "percent, strict / loose; the average is of the better mode of each benchmark."
    ]
    for one in published().f1:
        body = [
            (row.model, *(f"{s} / {o}" for s, o in zip(row.strict, row.loose, strict=True)), row.average)
            for row in one.rows
        ]
        title = f"Table {one.table}: {one.language} {_TASKS[one.task].lower()}"
        parts.append(title + "\n\n" + table(("Model", *one.benchmarks, "Average"), body))
    refusals = [
        (row.model, *(" / ".join(map(str, triple)) for triple in (row.xstest, row.wild_guard_test)))
        for row in published().refusal
    ]
    text = "Table 7: detection of answers that refuse, precision / recall / F1"
    parts.append(text + "\n\n" + table(("Model", "XSTest", "WildGuardTest"), refusals))
    latencies = [
        (row.model, *(f"{one.exact_hit} / {one.within_128}" for one in (row.response_loc, row.thinking_loc)))
        for row in published().latency
    ]
    text = "Evaluation notes (figure 8): Stream's first flag, exact hit / at most 128 tokens late, percent"
    parts.append(text + "\n\n" + table(("Model", "Answers", "Answers with reasoning"), latencies))
    return parts


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def table(head: Iterable[str], body: Iterable[Iterable[object]]) -> str:
    """A table in GitHub's Markdown."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([str(cell).replace("|", "\\|") for cell in row] for row in body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
