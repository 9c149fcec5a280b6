import pytest

from moderation.policy import Action, Policy
from moderation.verdict import Category, Severity, Verdict

CONTROVERSIAL = Verdict(severity=Severity.CONTROVERSIAL, categories=(Category.POLITICALLY_SENSITIVE_TOPICS,))
UNSAFE = Verdict(severity=Severity.UNSAFE, categories=(Category.VIOLENT, Category.PII))


def test_only_safe_passes_by_default() -> None:
    decisions = [Policy().decide(verdict) for verdict in (Verdict(severity=Severity.SAFE), CONTROVERSIAL, UNSAFE)]
    assert [decision.action for decision in decisions] == [Action.PASS, Action.REFUSE, Action.REFUSE]


def test_loose_lets_controversial_pass() -> None:
    assert Policy(strictness="loose").decide(CONTROVERSIAL).passes
    assert not Policy(strictness="loose").decide(UNSAFE).passes


@pytest.mark.parametrize(("allowed", "passes"), [({Category.VIOLENT}, False), ({Category.VIOLENT, Category.PII}, True)])
def test_a_turn_passes_when_all_its_categories_are_allowed(allowed: set[Category], passes: bool) -> None:
    assert Policy(allowed_categories=frozenset(allowed)).decide(UNSAFE).passes is passes


def test_a_flag_without_a_category_is_never_allowed() -> None:
    policy = Policy(allowed_categories=frozenset(Category))
    assert policy.decide(Verdict(severity=Severity.UNSAFE)).action is Action.REFUSE


def _said(severity: Severity, controversial: float, unsafe: float) -> Verdict:
    shares = {Severity.SAFE: 1 - controversial - unsafe, Severity.CONTROVERSIAL: controversial, Severity.UNSAFE: unsafe}
    return Verdict(severity=severity, probabilities=shares)


@pytest.mark.parametrize(
    ("strictness", "threshold", "passes"),
    [("strict", 0.4, False), ("strict", 0.6, True), ("loose", 0.4, True), ("loose", 0.3, False), ("strict", 0, True)],
)
def test_a_threshold_decides_by_probability_and_not_by_label(strictness: str, threshold: float, passes: bool) -> None:
    policy = Policy.model_validate({"strictness": strictness, "block_threshold": threshold})
    assert policy.decide(_said(Severity.SAFE, 0.2, 0.3)).passes is passes


def test_a_high_threshold_lets_pass_what_the_label_would_refuse() -> None:
    unsure = _said(Severity.UNSAFE, 0.0, 0.6)
    assert Policy(block_threshold=0.7).decide(unsure).passes
    assert not Policy(block_threshold=0.6).decide(unsure).passes


def test_without_probabilities_the_label_decides() -> None:
    policy = Policy(block_threshold=0.99)
    assert not policy.decide(UNSAFE).passes
    assert policy.decide(Verdict(severity=Severity.SAFE)).passes
    assert policy.decide(Verdict.none("the guard is down")).action is Action.WITHHOLD


def test_no_verdict_withholds_unless_the_admin_allows() -> None:
    missing = Verdict.none("the guard is down")
    assert Policy().decide(missing).action is Action.WITHHOLD
    assert Policy(when_unavailable="allow").decide(missing).passes


def test_monitor_passes_all_and_reports_what_it_would_have_done() -> None:
    decision = Policy(mode="monitor").decide(UNSAFE)
    assert (decision.action, decision.flagged) == (Action.PASS, Action.REFUSE)
