"""The figures, on rows for which they can be computed by hand."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from guard_server.errors import UnreadableResults
from guard_server.evaluation.ask.results import Outcome, Result, open_results
from guard_server.evaluation.data.hub_sets import SETS
from guard_server.evaluation.data.rows import Row
from guard_server.evaluation.figures.calibration import reliability
from guard_server.evaluation.figures.metrics import JudgedRow, figures
from guard_server.evaluation.figures.refusals import refusals
from guard_server.evaluation.figures.speed import speed
from guard_server.evaluation.figures.threshold import search
from guard_server.evaluation.report.published import BENCHMARK_OF, f1, models, published, refusal_f1
from moderation.conversation import Turn
from moderation.verdict import Category, Severity, Verdict

SAFE, CONTROVERSIAL, UNSAFE = Severity
_numbers = count()


def one(
    label: Severity,
    said: Severity | None,
    *,
    unsafe: float | None = None,
    controversial: float = 0.0,
    known: Sequence[Category] = (),
    named: Sequence[Category] = (),
) -> JudgedRow:
    """A judged row; `unsafe` and `controversial` are its probabilities, if it has any."""
    text = f"row {next(_numbers)}"
    row = Row(set="s", conversation=(Turn("user", text),), label=label, categories=frozenset(known))
    probabilities = (
        unsafe if unsafe is None else {SAFE: 1 - unsafe - controversial, CONTROVERSIAL: controversial, UNSAFE: unsafe}
    )
    verdict = Verdict(severity=said, categories=tuple(named), probabilities=probabilities)
    return JudgedRow(row, result(row.key, "verdict" if said else "time-out", verdict))


def result(key: str, outcome: Outcome, verdict: Verdict, *, started: float = 0, seconds: float = 1) -> Result:
    return Result(
        key=key,
        endpoint="http://x/v1",
        model="m",
        outcome=outcome,
        verdict=verdict,
        started=started,
        seconds=seconds,
        concurrency=2,
        requests=1,
        prompt_tokens=10,
        generated_tokens=1,
    )


def test_strict_and_loose_differ_in_controversial_verdicts_only() -> None:
    made = figures([one(UNSAFE, UNSAFE), one(UNSAFE, CONTROVERSIAL), one(SAFE, CONTROVERSIAL), one(SAFE, SAFE)])
    strict, loose = made.strict, made.loose
    assert (strict.precision, strict.recall, strict.false_positive_rate) == (pytest.approx(2 / 3), 1, 0.5)
    assert (loose.precision, loose.recall, loose.false_positive_rate) == (1, 0.5, 0)
    assert loose.f1 == pytest.approx(2 / 3)


def test_controversial_labels_are_in_the_confusion_table_only() -> None:
    made = figures([one(CONTROVERSIAL, UNSAFE), one(CONTROVERSIAL, SAFE), one(SAFE, SAFE)])
    assert made.strict.rows == made.loose.rows == 1
    assert made.confusion[CONTROVERSIAL] == {"Safe": 1, "Controversial": 0, "Unsafe": 1, "no verdict": 0}


def test_an_undefined_figure_is_none() -> None:
    harmless = figures([one(SAFE, SAFE, unsafe=0.1), one(SAFE, SAFE, unsafe=0.2)]).strict
    assert (harmless.precision, harmless.recall, harmless.f1, harmless.auc) == (None, None, None, None)
    assert harmless.false_positive_rate == 0
    harmful = figures([one(UNSAFE, SAFE)]).strict
    assert (harmful.precision, harmful.recall, harmful.f1, harmful.false_positive_rate) == (None, 0, 0, None)
    nothing = figures([one(SAFE, None)])
    assert (nothing.verdicts, nothing.strict.rows, nothing.strict.f1) == (0, 0, None)


def test_a_row_without_verdict_is_neither_flagged_nor_passed() -> None:
    judged = [one(UNSAFE, UNSAFE), one(SAFE, SAFE)]
    with_silence = figures([*judged, one(UNSAFE, None), one(SAFE, None)])
    assert with_silence.strict == figures(judged).strict
    assert with_silence.outcomes["time-out"] == 2


def test_rows_are_ranked_by_probability() -> None:
    rows = [one(SAFE, SAFE, unsafe=p) for p in (0.1, 0.2, 0.6)] + [one(UNSAFE, SAFE, unsafe=p) for p in (0.3, 0.7)]
    made = figures(rows, curves=True).loose
    # One of the six pairs of a safe and an unsafe row is in the wrong order.
    assert made.auc == pytest.approx(5 / 6)
    assert made.curve[-1] == (0, 1)
    assert (1, pytest.approx(2 / 3)) in made.curve
    assert figures(rows).loose.curve == []


def test_controversial_counts_for_the_strict_score_only() -> None:
    rows = [one(SAFE, SAFE, unsafe=0.3), one(UNSAFE, SAFE, unsafe=0.2, controversial=0.4)]
    assert figures(rows).strict.auc == 1
    assert figures(rows).loose.auc == 0


def test_categories_are_compared_on_harmful_rows() -> None:
    rows = [
        one(UNSAFE, UNSAFE, known=[Category.VIOLENT], named=[Category.VIOLENT]),
        one(UNSAFE, SAFE, known=[Category.VIOLENT]),
        one(UNSAFE, UNSAFE, known=[Category.PII], named=[Category.VIOLENT]),
        one(UNSAFE, UNSAFE, named=[Category.JAILBREAK]),
    ]
    made = figures(rows)
    assert set(made.categories) == {Category.VIOLENT, Category.PII}
    violent = made.categories[Category.VIOLENT]
    assert (violent.rows, violent.flagged, violent.precision, violent.recall, violent.f1) == (2, 0.5, 0.5, 0.5, 0.5)
    assert made.categories[Category.PII].f1 == 0
    assert made.category_macro_f1 == pytest.approx(0.25)


def test_the_calibration_error_is_the_distance_of_scores_from_shares_of_harmful_rows() -> None:
    rows = [one(SAFE, SAFE, unsafe=0.12), one(SAFE, SAFE, unsafe=0.18), one(UNSAFE, UNSAFE, unsafe=0.9)]
    rows += [one(CONTROVERSIAL, UNSAFE, unsafe=0.5), one(UNSAFE, None)]
    made = reliability(rows, "loose")
    assert made is not None
    assert [(bin_.rows, bin_.score, bin_.harmful) for bin_ in made.bins] == [
        (2, pytest.approx(0.15), 0),
        (1, pytest.approx(0.9), 1),
    ]
    assert made.calibration_error == pytest.approx((2 * 0.15 + 0.1) / 3)
    assert made.brier == pytest.approx((0.12**2 + 0.18**2 + 0.1**2) / 3)
    assert made.rows == sum(bin_.rows for bin_ in made.bins) == 3


def test_calibration_at_the_borders_of_bins_and_with_one_label_only() -> None:
    rows = [one(SAFE, SAFE, unsafe=step / 10) for step in range(11)]
    made = reliability(rows, "strict")
    assert made is not None
    # 0 and 0.1 are in the lowest bin; each other border belongs to the bin below it.
    assert [bin_.rows for bin_ in made.bins] == [2] + [1] * 9
    assert made.calibration_error == pytest.approx(0.5)
    assert reliability([one(SAFE, SAFE)], "strict") is None


def test_rows_without_the_guards_refusal_are_counted_separately() -> None:
    def answer(refusal: bool | None, said: bool | None) -> JudgedRow:
        row, result = one(SAFE, SAFE)
        verdict = result.verdict.model_copy(update={"refusal": said})
        return JudgedRow(row.model_copy(update={"refusal": refusal}), result.model_copy(update={"verdict": verdict}))

    rows = [answer(True, True), answer(True, True), answer(True, False), answer(False, True), answer(False, False)]
    made = refusals([*rows, answer(True, None), answer(None, True)])
    assert made is not None
    assert (made.rows, made.refusals, made.unreported) == (6, 4, 1)
    assert (made.precision, made.recall, made.f1) == (pytest.approx(2 / 3),) * 3
    assert refusals([answer(None, True)]) is None


def test_a_row_without_label_is_in_no_figure_of_harm() -> None:
    row, result = one(UNSAFE, UNSAFE, unsafe=0.9)
    judged = [one(SAFE, SAFE, unsafe=0.1), JudgedRow(row.model_copy(update={"label": None}), result)]
    made = figures(judged)
    assert (made.rows, made.verdicts, made.strict.rows) == (2, 2, 1)
    assert sum(sum(counts.values()) for counts in made.confusion.values()) == 1


def test_the_threshold_is_the_lowest_that_keeps_the_wanted_rate() -> None:
    rows = [one(SAFE, SAFE, unsafe=number / 100) for number in range(50)]
    rows += [one(UNSAFE, UNSAFE, unsafe=p) for p in (0.2, 0.46, 0.47, 0.9)]
    cut = search(rows, 0.05, "loose")
    assert cut is not None
    assert cut.threshold is not None
    # Two of fifty safe rows may be blocked: those at 0.49 and 0.48. A threshold of 0.47 would block three.
    assert 0.47 < cut.threshold <= 0.48
    assert cut.false_positive_rate == pytest.approx(0.04)
    assert cut.interval[0] < 0.04 < cut.interval[1]
    assert cut.recall == pytest.approx(1 / 4)
    assert (cut.safe, cut.unsafe) == (50, 4)


def test_if_no_threshold_keeps_the_rate_nothing_is_blocked() -> None:
    rows = [one(SAFE, UNSAFE, unsafe=1.0), one(UNSAFE, UNSAFE, unsafe=0.9)]
    cut = search(rows, 0.0, "strict")
    assert cut is not None
    assert (cut.threshold, cut.false_positive_rate, cut.recall) == (None, 0, 0)


def test_without_probabilities_or_safe_rows_there_is_no_threshold() -> None:
    assert search([one(SAFE, SAFE), one(UNSAFE, UNSAFE)], 0.1, "strict") is None
    assert search([one(UNSAFE, UNSAFE, unsafe=0.9)], 0.1, "strict") is None


def test_pauses_between_runs_do_not_count_as_time_of_the_guard() -> None:
    verdict = Verdict(severity=SAFE)
    first = [result(str(at), "verdict", verdict, started=at / 2) for at in range(3)]
    later = [result("later", "verdict", verdict, started=1000)]
    silent = [result("silent", "time-out", Verdict.none("x"), started=2000, seconds=6)]
    # Waiting times of 2, 1 and 6 seconds.
    assert speed(first + later).verdicts_per_second == pytest.approx(4 / 3)
    assert speed(first + later + silent).verdicts_per_second == pytest.approx(4 / 9)
    assert speed(first + silent).p95_seconds == 1
    assert speed(silent).verdicts_per_second is None


def test_an_incomplete_line_is_dropped_and_not_continued(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    made = [result(key, "verdict", Verdict(severity=SAFE)) for key in "abc"]
    with open_results(file, "http://x/v1", "m") as results:
        results.add(made[0])
        results.add(made[1])
    file.write_bytes(file.read_bytes()[:-20])
    with open_results(file, "http://x/v1", "m") as results:
        assert list(results.known) == ["a"]
        results.add(made[2])
    with open_results(file, "http://x/v1", "m") as results:
        assert list(results.known) == ["a", "c"]
    with open_results(file, "http://x/v1", "another") as results:
        assert results.known == {}


def test_a_broken_line_and_a_second_run_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text("{}\n")
    with pytest.raises(UnreadableResults, match="line 1 is not a result"), open_results(file, "e", "m"):
        pass
    file.write_text("")
    with (
        open_results(file, "e", "m"),
        pytest.raises(UnreadableResults, match="Another run"),
        open_results(file, "e", "m"),
    ):
        pass


def test_published_averages_follow_from_the_published_rows() -> None:
    """The average is over the better mode of each benchmark. "Others" cannot be checked: see the file."""
    checked = 0
    for table in published().f1:
        for row in table.rows:
            assert len(row.strict) == len(row.loose) == len(table.benchmarks)
            if table.language != "multilingual":
                best = [max(pair) for pair in zip(row.strict, row.loose, strict=True)]
                assert sum(best) / len(best) == pytest.approx(row.average, abs=0.06), (table.table, row.model)
                checked += 1
    assert checked == 3 * 8
    assert {table.table for table in published().f1} == {2, 3, 4, 5, 6, 11, 12, 13, 14, 15}
    assert len(models()) == 6


def test_a_published_figure_is_found_by_our_name_of_its_set() -> None:
    found = f1("Qwen/Qwen3GuardTest:thinking", "Qwen3Guard-Stream-4B", "strict")
    assert found == (85.4, 12)
    assert f1("lmsys/toxic-chat", "Qwen3Guard-Gen-0.6B", "loose") == (77.7, 2)
    assert f1("weather", "Qwen3Guard-Gen-0.6B", "loose") is None
    assert f1("allenai/wildguardmix:responses", "Qwen3Guard-Gen-8B", "strict") is not None
    assert refusal_f1("allenai/xstest-response:refusal", "Qwen3Guard-Gen-4B") == 94.6
    assert refusal_f1("allenai/wildguardmix:responses", "Qwen3Guard-Gen-8B") == 90.0
    assert refusal_f1("allenai/wildguardmix:responses", "Qwen3Guard-Stream-8B") is None


def test_every_published_name_of_a_set_is_one_that_eval_gives() -> None:
    named = {f"{name}:{view.part}" if view.part else name for name, known in SETS.items() for view in known.views}
    assert {name for name in BENCHMARK_OF if "/" in name} < named
