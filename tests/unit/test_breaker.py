import pytest

from moderation.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 2, 3, clock)


def report(breaker: Breaker, outcomes: str) -> None:
    """Report outcomes: "x" is a failure, "o" a success."""
    for outcome in outcomes:
        if outcome == "x":
            breaker.failed()
        else:
            breaker.succeeded()


@pytest.mark.parametrize(
    ("outcomes", "admits"),
    [
        ("", True),
        ("xx", True),
        ("xxx", False),
        ("xxxx", False),
        ("xxox", True),
        ("xoxoxox", True),
        ("xxoxxx", False),
        ("xxxo", True),
        ("xxxoxx", True),
    ],
)
def test_only_failures_in_a_row_open_it_and_a_success_closes_it(breaker: Breaker, outcomes: str, admits: bool) -> None:
    report(breaker, outcomes)
    assert [breaker.admits(), breaker.admits()] == [admits, admits]


def test_it_is_open_for_its_seconds_after_the_last_failure(breaker: Breaker, clock: Clock) -> None:
    report(breaker, "xxx")
    clock.now += 1.5
    report(breaker, "x")
    clock.now += 1.9
    assert not breaker.admits()
    clock.now += 0.1
    assert breaker.admits()


def test_after_its_pause_a_few_callers_are_admitted(breaker: Breaker, clock: Clock) -> None:
    report(breaker, "xxx")
    clock.now += 2
    assert [breaker.admits() for _ in range(5)] == [True, True, True, False, False]
    report(breaker, "o")
    assert [breaker.admits() for _ in range(5)] == [True] * 5


def test_a_try_that_fails_opens_it_again_at_once(breaker: Breaker, clock: Clock) -> None:
    report(breaker, "xxx")
    clock.now += 2
    assert breaker.admits()
    clock.now += 1
    report(breaker, "x")
    clock.now += 1.5
    assert not breaker.admits()
    clock.now += 0.5
    assert breaker.admits()


def test_a_caller_that_never_reports_does_not_block_others_for_long(breaker: Breaker, clock: Clock) -> None:
    report(breaker, "xxx")
    clock.now += 2
    assert [breaker.admits() for _ in range(4)] == [True, True, True, False]
    clock.now += 2
    assert [breaker.admits() for _ in range(4)] == [True, True, True, False]
