"""Finds the threshold on the probabilities that gives a wanted false-positive rate."""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from pydantic import BaseModel
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_curve

from guard_server.evaluation.figures.metrics import JudgedRow, scored
from moderation.policy import Strictness

_FEWEST_DIGITS, _MOST_DIGITS = 4, 17
"""Digits after the point; 17 distinguish any two probabilities."""


class Cut(BaseModel):
    """A threshold, and its effect on the data that it was found on."""

    mode: Strictness
    """The valve `strictness`: the score is P(Unsafe), in strict mode plus P(Controversial)."""
    threshold: float | None
    """Block if the score is at least this; None if the wanted rate is only reached by blocking nothing."""
    safe: int
    """Number of rows with label Safe that it was found on."""
    unsafe: int
    false_positive_rate: float
    interval: tuple[float, float]
    """The 95 % confidence interval of that rate (Wilson)."""
    recall: float | None


def search(group: Sequence[JudgedRow], wanted: float, mode: Strictness) -> Cut | None:
    """The lowest threshold with a false-positive rate of at most `wanted`, in as few digits as it needs, at least four.

    Args:
        group: judged rows; those with a Controversial label or without probabilities are left out.
        wanted: between 0 and 1.
        mode: defines the score, see `Cut`.

    Returns:
        None if no row with label Safe has probabilities.
    """
    truth, values = scored(group, mode)
    safe, unsafe = int((truth == 0).sum()), int(truth.sum())
    if not safe:
        return None
    # One more harmful row with the highest score: roc_curve needs both classes, and false positives do not change.
    rates, _, cuts = roc_curve(np.append(truth, 1), np.append(values, 2.0), drop_intermediate=False)
    lowest = float(cuts[np.flatnonzero(rates <= wanted)[-1]])
    threshold = _rounded(lowest, below=max(values[values < lowest], default=0.0))
    blocked = (values >= threshold).astype(int)
    (_, false_positives), (_, hits) = confusion_matrix(truth, blocked, labels=[0, 1])
    interval = binomtest(int(false_positives), safe).proportion_ci(method="wilson")
    return Cut(
        mode=mode,
        threshold=threshold if threshold <= 1 else None,
        safe=safe,
        unsafe=unsafe,
        false_positive_rate=float(false_positives / safe),
        interval=(float(interval.low), float(interval.high)),
        recall=float(hits / unsafe) if unsafe else None,
    )


def _rounded(lowest: float, below: float) -> float:
    """A number that divides the scores as `lowest` does: more than `below`, the score before it, and at most `lowest`.

    Scores close to 1 often differ only in the fifth digit or later, so the number of digits cannot be fixed.
    """
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS):
        rounded = float(Decimal(repr(lowest)).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))
        if rounded > below:
            return rounded
    return lowest
