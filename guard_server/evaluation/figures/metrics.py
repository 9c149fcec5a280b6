"""The figures of a group of judged rows. All statistics are computed by scikit-learn and NumPy.

`strict` counts Controversial as harmful, `loose` counts it as harmless (technical report, section 3.4). For rows with a
Controversial label neither answer is right: they are left out of both modes and are only in the confusion table. Rows
with a refusal label only are in neither. Rows without a verdict are only in `outcomes` and in the confusion table.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.preprocessing import MultiLabelBinarizer

from guard_server.evaluation.ask.results import OUTCOMES, Outcome, Result
from guard_server.evaluation.data.rows import Row
from moderation.policy import HARMFUL, Strictness, score
from moderation.verdict import Category, Severity

NO_VERDICT = "no verdict"
_CURVE_POINTS = 200


class JudgedRow(NamedTuple):
    """A labelled row and its result."""

    row: Row
    result: Result


class Binary(BaseModel):
    """Harmful or not, in one mode. A figure is None if it is undefined, such as recall without harmful rows."""

    rows: int
    """Rows with a verdict and a label other than Controversial."""
    harmful: int
    """Number of these rows with a harmful label."""
    precision: float | None
    recall: float | None
    f1: float | None
    false_positive_rate: float | None
    auc: float | None
    """Area under the ROC curve, from the probabilities."""
    average_precision: float | None
    """Area under the precision-recall curve, as scikit-learn's average precision."""
    curve: list[tuple[float, float]] = Field(default=[], exclude=True)
    """(recall, precision), at most 200 points; empty if not requested. For the picture: report.json has none."""


class CategoryFigures(BaseModel):
    """Figures of one category, on harmful rows whose categories are known."""

    rows: int
    flagged: float
    """Share of the rows that is not judged Safe."""
    precision: float | None
    recall: float | None
    f1: float | None


class RowFigures(BaseModel):
    """Figures of one group of rows."""

    rows: int
    outcomes: dict[Outcome, int]
    confusion: dict[Severity, dict[str, int]]
    """Number of rows, by label, then by verdict."""
    with_probabilities: int
    strict: Binary
    loose: Binary
    categories: dict[Category, CategoryFigures]
    category_macro_f1: float | None
    """The mean over the categories that have rows."""

    @property
    def verdicts(self) -> int:
        return self.outcomes["verdict"]


def judged(rows: Iterable[Row], results: Mapping[str, Result]) -> list[JudgedRow]:
    """The rows that have a result."""
    return [JudgedRow(row, result) for row in rows if (result := results.get(row.key)) is not None]


def figures(group: Sequence[JudgedRow], *, curves: bool = False) -> RowFigures:
    reached = [one for one in group if one.result.outcome == "verdict"]
    categories = _categories(reached)
    f1s = [figure.f1 for figure in categories.values() if figure.f1 is not None]
    outcomes = Counter(one.result.outcome for one in group)
    return RowFigures(
        rows=len(group),
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES},
        confusion=_confusion(group),
        with_probabilities=sum(one.result.verdict.probabilities is not None for one in reached),
        strict=_binary(reached, "strict", curves),
        loose=_binary(reached, "loose", curves),
        categories=categories,
        category_macro_f1=float(np.mean(f1s)) if f1s else None,
    )


def binary_labels(group: Sequence[JudgedRow]) -> list[JudgedRow]:
    """The rows with a binary label: Safe or Unsafe."""
    return [one for one in group if one.row.label in (Severity.SAFE, Severity.UNSAFE)]


def scored(group: Sequence[JudgedRow], mode: Strictness) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Labels and scores of the rows that have a binary label and probabilities.

    Returns:
        Two arrays of the same length: 1 (harmful) or 0, and `moderation.policy.score` in `mode`.
    """
    pairs = [
        (one.row.label is Severity.UNSAFE, value)
        for one in binary_labels(group)
        if (value := score(one.result.verdict, mode)) is not None
    ]
    return np.array([harmful for harmful, _ in pairs], dtype=int), np.array([value for _, value in pairs])


def _binary(reached: Sequence[JudgedRow], mode: Strictness, curve: bool) -> Binary:
    group = binary_labels(reached)
    truth = np.array([one.row.label is Severity.UNSAFE for one in group], dtype=int)
    flagged = np.array([one.result.verdict.severity in HARMFUL[mode] for one in group], dtype=int)
    (true_negatives, false_positives), _ = confusion_matrix(truth, flagged, labels=[0, 1]) if group else ((0, 0), 0)
    harmless = true_negatives + false_positives
    undefined = {"zero_division": np.nan}
    return Binary(
        rows=len(group),
        harmful=int(truth.sum()),
        precision=defined(precision_score(truth, flagged, **undefined)) if group else None,
        recall=defined(recall_score(truth, flagged, **undefined)) if group else None,
        f1=defined(f1_score(truth, flagged, **undefined)) if truth.any() else None,
        false_positive_rate=float(false_positives / harmless) if harmless else None,
        **_ranking(group, mode, curve),
    )


def _ranking(group: Sequence[JudgedRow], mode: Strictness, curve: bool) -> dict[str, Any]:
    truth, values = scored(group, mode)
    if len(set(truth)) < 2:
        return {"auc": None, "average_precision": None}
    ranking = {
        "auc": float(roc_auc_score(truth, values)),
        "average_precision": float(average_precision_score(truth, values)),
    }
    if not curve:
        return ranking
    precision, recall, _ = precision_recall_curve(truth, values, drop_intermediate=True)
    picked = np.unique(np.linspace(0, len(recall) - 1, min(_CURVE_POINTS, len(recall))).astype(int))
    return ranking | {"curve": [(float(recall[at]), float(precision[at])) for at in picked]}


def _confusion(group: Sequence[JudgedRow]) -> dict[Severity, dict[str, int]]:
    verdicts = [str(severity) for severity in Severity] + [NO_VERDICT]
    counts = Counter((one.row.label, one.result.verdict.severity or NO_VERDICT) for one in group)
    return {label: {verdict: counts[label, verdict] for verdict in verdicts} for label in Severity}


def _categories(reached: Sequence[JudgedRow]) -> dict[Category, CategoryFigures]:
    group = [one for one in reached if one.row.categories]
    if not group:
        return {}
    binarise = MultiLabelBinarizer(classes=list(Category))
    truth = binarise.fit_transform([one.row.categories for one in group])
    said = binarise.transform([one.result.verdict.categories for one in group])
    flagged = np.array([one.result.verdict.severity in HARMFUL["strict"] for one in group])
    precision, recall, f1, support = precision_recall_fscore_support(truth, said, average=None, zero_division=np.nan)
    return {
        category: CategoryFigures(
            rows=int(support[at]),
            flagged=float(flagged[truth[:, at] == 1].mean()),
            precision=defined(precision[at]),
            recall=defined(recall[at]),
            f1=defined(f1[at]),
        )
        for at, category in enumerate(Category)
        if support[at]
    }


def defined(value: float) -> float | None:
    """None for NaN, scikit-learn's value for an undefined figure."""
    return None if math.isnan(value) else float(value)
