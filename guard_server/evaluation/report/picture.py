"""The picture of a report."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guard_server.evaluation.ask.results import OUTCOMES
from guard_server.evaluation.report.report import EvaluationReport
from moderation.policy import Strictness

NAME = "report.png"
# Okabe and Ito's colours, which colour-blind people can distinguish too.
_BLUE, _ORANGE, _GREEN, _RED, _PINK, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#999999"
_TASK_COLOURS = {"prompt": _BLUE, "response": _ORANGE}
_LINES: dict[Strictness, str] = {"strict": "-", "loose": "--"}
_OUTCOME_COLOURS = dict(zip(OUTCOMES, (_GREEN, _ORANGE, _RED, _PINK, _GREY), strict=True))
_INCHES_PER_SET = 0.42


def draw(report: EvaluationReport, folder: Path) -> None:
    """Write report.png: precision and recall, reliability, F1 and false positives by set, and outcomes of the rows."""
    names = list(report.sets)[::-1]
    # Without pyplot, which has global state and may need a window system.
    picture = Figure(figsize=(21, 3.2 + max(2.4, _INCHES_PER_SET * len(names))), layout="constrained")
    curves, reliability, scores, outcomes = picture.subplots(1, 4, width_ratios=(1.1, 1.1, 1.2, 0.7))
    picture.suptitle(f"{report.model}: {report.judged} verdicts on {report.rows} rows", fontsize=13)
    _curves(curves, report)
    _reliability(reliability, report)
    _scores(scores, report, names)
    _outcomes(outcomes, report, names)
    picture.savefig(folder / NAME, dpi=110)


def _curves(axes: Axes, report: EvaluationReport) -> None:
    for task, figures in report.tasks.items():
        for mode, line in _LINES.items():
            binary = figures.strict if mode == "strict" else figures.loose
            if binary.curve:
                recall, precision = zip(*binary.curve, strict=True)
                label = f"{task}s, {mode} (AUC {binary.auc:.2f})"
                axes.plot(recall, precision, line, color=_TASK_COLOURS[task], label=label)
            if binary.recall is not None and binary.precision is not None:
                colour = _TASK_COLOURS[task]
                fill = colour if mode == "strict" else "white"
                axes.plot(binary.recall, binary.precision, "o", color=colour, markerfacecolor=fill, markersize=8)
    if axes.lines:
        axes.plot([], [], "o", color="black", label="the model's own label, strict")
        axes.plot([], [], "o", color="black", markerfacecolor="white", label="the model's own label, loose")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9, frameon=False)
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)


def _reliability(axes: Axes, report: EvaluationReport) -> None:
    axes.plot([0, 1], [0, 1], ":", color=_GREY)
    for task, modes in report.reliability.items():
        for mode, line in _LINES.items():
            if one := modes.get(mode):
                points = [(each.score, each.harmful, each.rows) for each in one.bins]
                scores, harmful, rows = zip(*points, strict=True)
                label = f"{task}s, {mode} (ECE {100 * one.calibration_error:.1f} %)"
                axes.plot(scores, harmful, f"o{line}", color=_TASK_COLOURS[task], markersize=3, label=label)
                # A point of few rows means little, so its area is proportional to the rows.
                sizes = [250 * count / one.rows for count in rows]
                axes.scatter(scores, harmful, sizes, color=_TASK_COLOURS[task], alpha=0.3)
    if report.reliability:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9, frameon=False)
    axes.set(title="Reliability", xlabel="score", ylabel="harmful share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)


def _scores(axes: Axes, report: EvaluationReport, names: list[str]) -> None:
    for place, name in enumerate(names):
        figures = report.sets[name]
        for binary, offset, colour in ((figures.strict, 0.2, _BLUE), (figures.loose, -0.2, _ORANGE)):
            if binary.f1 is not None:
                axes.barh(place + offset, 100 * binary.f1, height=0.36, color=colour)
            if binary.false_positive_rate is not None:
                axes.plot(100 * binary.false_positive_rate, place + offset, "x", color="black", markersize=7)
    axes.barh([0], [0], color=_BLUE, label="F1, strict")
    axes.barh([0], [0], color=_ORANGE, label="F1, loose")
    axes.plot([], [], "x", color="black", label="false-positive rate")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=9, frameon=False)
    axes.set(title="By set, percent", xlim=(0, 102), ylim=(-0.6, len(names) - 0.4))
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def _outcomes(axes: Axes, report: EvaluationReport, names: list[str]) -> None:
    for place, name in enumerate(names):
        figures, left = report.sets[name], 0.0
        for outcome in OUTCOMES:
            share = 100 * figures.outcomes[outcome] / figures.rows
            axes.barh(place, share, left=left, height=0.6, color=_OUTCOME_COLOURS[outcome])
            left += share
    for outcome in OUTCOMES:
        axes.barh([0], [0], color=_OUTCOME_COLOURS[outcome], label=outcome)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9, frameon=False)
    axes.set(title="Outcomes, percent of rows", xlim=(0, 100), ylim=(-0.6, len(names) - 0.4))
    axes.set_yticks(range(len(names)), [""] * len(names))
