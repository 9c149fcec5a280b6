"""The policy: what the admin wants to happen for a verdict."""

from enum import StrEnum
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from moderation.verdict import Category, Severity, Verdict

Strictness = Literal["strict", "loose"]
HARMFUL: dict[Strictness, tuple[Severity, ...]] = {
    "strict": (Severity.CONTROVERSIAL, Severity.UNSAFE),
    "loose": (Severity.UNSAFE,),
}
"""Severities that each strictness treats as harmful (technical report, section 3.4)."""


def score(verdict: Verdict, strictness: Strictness) -> float | None:
    """The probability of harm, from 0 to 1; None if the endpoint returned no probabilities."""
    if verdict.probabilities is None:
        return None
    # A sum of floats may exceed 1 a little.
    return min(1.0, sum(verdict.probabilities.get(severity, 0.0) for severity in HARMFUL[strictness]))


class Action(StrEnum):
    """What happens to a turn."""

    PASS = "pass"
    REFUSE = "refuse"
    WITHHOLD = "withhold"
    """There is no verdict, so the turn is hidden."""


class Decision(BaseModel):
    """The result of applying a policy to a verdict."""

    model_config = ConfigDict(frozen=True)

    action: Action
    """What happens."""
    flagged: Action
    """What would happen in `enforce` mode. Differs from `action` in monitor mode only."""

    @property
    def passes(self) -> bool:
        return self.action is Action.PASS


@cache
def _decision(action: Action, flagged: Action) -> Decision:
    return Decision(action=action, flagged=flagged)


class Policy(BaseModel):
    """Turns verdicts into decisions. The default lets only Safe pass."""

    model_config = ConfigDict(frozen=True)

    strictness: Strictness = "strict"
    """`strict` refuses Controversial turns, `loose` lets them pass."""
    block_threshold: float = 0
    """Refuses turns whose `score` is at least this value. The guard's label is then used only if there are no
    probabilities. With 0, the label always decides."""
    allowed_categories: frozenset[Category] = frozenset()
    """A flagged turn passes if all of its categories are among these."""
    mode: Literal["enforce", "monitor"] = "enforce"
    """`monitor` lets everything pass and only records it."""
    when_unavailable: Literal["withhold", "allow"] = "withhold"
    """What happens to a turn that could not be judged."""

    def decide(self, verdict: Verdict) -> Decision:
        flagged = self._flagged(verdict)
        return _decision(Action.PASS if self.mode == "monitor" else flagged, flagged)

    def _flagged(self, verdict: Verdict) -> Action:
        if not verdict.reached:
            return Action.PASS if self.when_unavailable == "allow" else Action.WITHHOLD
        if not self._harmful(verdict):
            return Action.PASS
        if verdict.categories and self.allowed_categories.issuperset(verdict.categories):
            return Action.PASS
        return Action.REFUSE

    def _harmful(self, verdict: Verdict) -> bool:
        probability = score(verdict, self.strictness) if self.block_threshold else None
        if probability is None:
            return verdict.severity in HARMFUL[self.strictness]
        return probability >= self.block_threshold
