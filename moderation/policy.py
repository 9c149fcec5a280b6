"""What the admin wants done with a verdict."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from moderation.verdict import Category, Severity, Verdict


class Action(StrEnum):
    """What happens to a turn."""

    PASS = "pass"
    REFUSE = "refuse"
    WITHHOLD = "withhold"
    """No verdict could be reached, so nobody reads the turn."""


class Decision(BaseModel):
    """A verdict under a policy."""

    model_config = ConfigDict(frozen=True)

    action: Action
    """What is done."""
    flagged: Action
    """What would be done if the policy were enforced: differs from `action` in monitor mode only."""

    @property
    def passes(self) -> bool:
        return self.action is Action.PASS


class Policy(BaseModel):
    """Turns verdicts into decisions. The default lets only Safe pass."""

    model_config = ConfigDict(frozen=True)

    strictness: Literal["strict", "loose"] = "strict"
    """`strict` refuses Controversial turns, `loose` lets them pass (technical report, section 3.3)."""
    allowed_categories: frozenset[Category] = frozenset()
    """A flagged turn passes when all of its categories are among these."""
    mode: Literal["enforce", "monitor"] = "enforce"
    """`monitor` lets everything pass and only records."""
    when_unavailable: Literal["withhold", "allow"] = "withhold"
    """What to do with a turn that could not be judged."""

    def decide(self, verdict: Verdict) -> Decision:
        flagged = self._flagged(verdict)
        return Decision(action=Action.PASS if self.mode == "monitor" else flagged, flagged=flagged)

    def _flagged(self, verdict: Verdict) -> Action:
        if not verdict.reached:
            return Action.PASS if self.when_unavailable == "allow" else Action.WITHHOLD
        if verdict.severity is Severity.SAFE or (
            verdict.severity is Severity.CONTROVERSIAL and self.strictness == "loose"
        ):
            return Action.PASS
        if verdict.categories and self.allowed_categories.issuperset(verdict.categories):
            return Action.PASS
        return Action.REFUSE
