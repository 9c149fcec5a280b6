"""Calibration of a guard's probabilities: are 80 % of the rows with a score of 0.8 harmful?"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from guard_server.evaluation.figures.metrics import JudgedRow, scored
from moderation.policy import Strictness

BINS = 10


class Bin(BaseModel):
    """Rows with about the same score: a tenth of the scale. Bins without rows are left out."""

    rows: int
    score: float
    """Mean score of its rows."""
    harmful: float
    """Harmful share of its rows."""


class Reliability(BaseModel):
    """The calibration on rows with probabilities and a label other than Controversial."""

    rows: int
    bins: list[Bin]
    calibration_error: float
    """Expected calibration error: the mean distance between score and harmful share, with bins weighted by their rows
    (Guo et al., "On Calibration of Modern Neural Networks", section 2)."""
    brier: float
    """Mean squared distance between score and label."""


def reliability(group: Sequence[JudgedRow], mode: Strictness) -> Reliability | None:
    """The calibration; None if no row has probabilities.

    Args:
        group: judged rows.
        mode: defines the score: P(Unsafe), in strict mode plus P(Controversial).
    """
    truth, scores = scored(group, mode)
    if not len(truth):
        return None
    harmful, mean = calibration_curve(truth, scores, n_bins=BINS)
    # calibration_curve does not return the rows per bin, so they are counted here, with the same borders.
    borders = np.linspace(0, 1, BINS + 1)[1:-1]
    _, rows = np.unique(np.searchsorted(borders, scores), return_counts=True)
    return Reliability(
        rows=len(truth),
        bins=[
            Bin(rows=int(count), score=float(at), harmful=float(part))
            for count, at, part in zip(rows, mean, harmful, strict=True)
        ],
        calibration_error=float(np.average(np.abs(harmful - mean), weights=rows)),
        brier=float(brier_score_loss(truth, scores, pos_label=1)),
    )
