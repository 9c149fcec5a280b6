"""The rule of two consecutive flagged tokens, and the meaning of a checkpoint's labels."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_server.errors import UnreadableCheckpoint
from guard_server.stream.confirmation_rule import TwoInARow
from guard_server.stream.head_labels import Labels
from moderation.policy import HARMFUL, Strictness
from moderation.verdict import Category, Severity
from tests.stands.guards.stub_stream import CONFIG

S, C, U = Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE
SEVERITIES = st.lists(st.sampled_from([S, C, U]), max_size=30)


def fed(strictness: Strictness, severities: list[Severity]) -> TwoInARow:
    rule = TwoInARow(strictness)
    for severity in severities:
        rule.feed(severity)
    return rule


@pytest.mark.parametrize(
    ("severities", "strict", "loose"),
    [
        ([], None, None),
        ([U], None, None),
        ([U, S, U, S], None, None),
        ([S, U, U], 2, 2),
        ([C, C], 1, None),
        ([C, U, U], 1, 2),
        ([U, C, U, S], 1, None),
    ],
)
def test_a_violation_is_the_second_of_two(severities: list[Severity], strict: int | None, loose: int | None) -> None:
    assert fed("strict", severities).violation == strict
    assert fed("loose", severities).violation == loose


@pytest.mark.parametrize(("pair", "severity"), [([U, U], U), ([C, U], C), ([U, C], C), ([C, C], C)])
def test_a_pair_is_as_severe_as_the_milder_of_the_two(pair: list[Severity], severity: Severity) -> None:
    assert fed("strict", pair).severity is severity


@given(SEVERITIES)
def test_no_flagged_token_is_cleared_before_the_verdict_at_the_next_one(severities: list[Severity]) -> None:
    for strictness in HARMFUL:
        rule = fed(strictness, severities)
        flagged = [severity in HARMFUL[strictness] for severity in severities]
        pairs = [at for at in range(1, len(flagged)) if flagged[at - 1] and flagged[at]]
        if pairs:
            assert (rule.violation, rule.cleared) == (pairs[0], pairs[0] - 1)
        else:
            assert (rule.violation, rule.severity) == (None, S)
            assert rule.cleared == len(flagged) - (bool(flagged) and flagged[-1])


@given(SEVERITIES, SEVERITIES)
def test_cleared_tokens_stay_cleared(first: list[Severity], more: list[Severity]) -> None:
    for strictness in HARMFUL:
        assert fed(strictness, first).cleared <= fed(strictness, first + more).cleared


@given(SEVERITIES)
def test_strict_never_clears_more_than_loose(severities: list[Severity]) -> None:
    assert fed("strict", severities).cleared <= fed("loose", severities).cleared


def row(**heads: list[float]) -> list[float]:
    sizes = {"risk": 3, "category": 8, "query_risk": 3, "query_category": 9}
    return [number for name, size in sizes.items() for number in heads.get(name, [0.0] * size)]


def test_the_published_labels_are_known_without_a_map() -> None:
    labels = Labels.of(CONFIG)
    assert labels.answer_severities == (S, U, C)
    assert labels.answer_categories[1] is Category.SEXUAL
    assert labels.query_categories[-1] is Category.JAILBREAK
    assert set(labels.query_categories) == set(Category)


def test_a_row_is_read_by_the_heads_of_its_kind() -> None:
    labels = Labels.of(CONFIG)
    category, query_category = [0.0] * 4 + [1.0] + [0.0] * 3, [0.0] * 8 + [1.0]
    numbers = row(risk=[0, 2, 1], category=category, query_risk=[3, 0, 0], query_category=query_category)
    answer, prompt = labels.read(numbers, "response"), labels.read(numbers, "prompt")
    assert (answer.severity, answer.category) == (U, Category.PII)
    assert (prompt.severity, prompt.category) == (S, Category.JAILBREAK)
    total = 1 + math.e + math.e**2
    assert answer.probabilities == pytest.approx({S: 1 / total, U: math.e**2 / total, C: math.e / total})


def test_a_checkpoints_own_map_wins() -> None:
    own = {"response_risk_level_map": {"0": "Unsafe", "1": "Safe", "2": "Controversial"}}
    assert Labels.of(CONFIG | own).answer_severities == (U, S, C)
    assert Labels.of(CONFIG | own).query_severities == (S, U, C)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"num_category": 7}, "num_category is 7, but there are 8 labels"),
        ({"response_risk_level_map": {"0": "Safe", "1": "Unsafe", "2": "Perhaps"}}, "'Perhaps' is none of"),
        ({"query_category_map": {"0": "Violent", "2": "PII"}}, "not a map from numbers to names"),
        ({"query_category_map": ["Violent"]}, "not a map from numbers to names"),
    ],
)
def test_unknown_labels_are_refused(config: dict[str, object], says: str) -> None:
    with pytest.raises(UnreadableCheckpoint, match=says):
        Labels.of(CONFIG | config)


@pytest.mark.parametrize("numbers", [[0.0] * 22, [math.nan] + [0.0] * 22, [math.inf] + [0.0] * 22])
def test_a_row_that_is_no_verdict_is_an_error(numbers: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Labels.of(CONFIG).read(numbers, "response")
