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


def test_no_verdict_withholds_unless_the_admin_allows() -> None:
    missing = Verdict.none("the guard is down")
    assert Policy().decide(missing).action is Action.WITHHOLD
    assert Policy(when_unavailable="allow").decide(missing).passes


def test_monitor_lets_pass_and_says_what_it_would_have_done() -> None:
    decision = Policy(mode="monitor").decide(UNSAFE)
    assert (decision.action, decision.flagged) == (Action.PASS, Action.REFUSE)
