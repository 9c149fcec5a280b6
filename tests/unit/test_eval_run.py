"""`eval` against a guard with all kinds of faults: the figures are right, and the run ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guard_server import cli
from guard_server.evaluation.report.report import EvaluationReport, load
from guard_server.serve.pip_commands import install_extra
from tests.stands.guards.broken_guard import PROMPT_TOKENS, BrokenGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

ROWS = 90
# For one verdict of a guard that is silent about some turns, and the share of these.
TIMEOUT, SILENT = 8.0, 0.07
TEXTS = [f"What is the weather like on day {day}?" for day in range(ROWS)]
HARMFUL = set(TEXTS[::3])


@pytest.fixture
def broken() -> BrokenGuard:
    return BrokenGuard()


@pytest.fixture
def url(broken: BrokenGuard) -> Iterator[str]:
    with serve(broken.app) as url:
        yield f"{url}/v1"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Half of the rows are prompts, half are answers. Their labels are independent of the verdicts."""
    file = tmp_path / "weather.jsonl"
    with file.open("w") as stream:
        for number, text in enumerate(TEXTS):
            before = [] if number % 2 else [{"role": "user", "content": "Tell me something."}]
            message = {"role": "user" if number % 2 else "assistant", "content": text}
            label = "Unsafe" if text in HARMFUL else "Safe"
            row = {"messages": [*before, message], "label": label, "lang": "en" if number < 45 else "fr"}
            stream.write(json.dumps(row) + "\n")
    return file


def evaluate(url: str, data: Path | str, *options: str, timeout: float = PATIENCE) -> Result:
    out = ["--out", str(Path(data).parent / "out")]
    # Few at a time: on a slow machine, many at a time would be so slow that they count as time-outs.
    command = [
        "eval",
        "--guard-url",
        url,
        "--data",
        str(data),
        *out,
        "--timeout",
        str(timeout),
        "--concurrency",
        "6",
        *options,
    ]
    result = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert "Traceback" not in result.output
    return result


def report(data: Path) -> EvaluationReport:
    return load(data.parent / "out")


def test_the_file_of_figures_is_compact_and_reads_back(url: str, data: Path) -> None:
    evaluate(url, data)
    file = data.parent / "out" / "report.json"
    assert len(file.read_text().splitlines()) < 60
    assert '"curve"' not in file.read_text()
    assert load(file).model_dump(mode="json") == json.loads(file.read_text())


def test_figures_of_a_broken_guard_are_those_of_its_own_record(broken: BrokenGuard, url: str, data: Path) -> None:
    broken.silent = SILENT
    result = evaluate(url, data, timeout=TIMEOUT)
    assert result.exit_code == 0, result.output
    made = report(data)
    fates = [broken.fate(text) for text in TEXTS]
    assert all(fates.count(fate) for fate in ("verdict", "unreadable", "time-out"))
    figures = made.sets["weather"]
    assert figures.outcomes == {
        "verdict": fates.count("verdict"),
        "unreadable": fates.count("unreadable"),
        "time-out": fates.count("time-out"),
        "rejected": 0,
        "error": 0,
    }
    judged = [text for text in TEXTS if broken.fate(text) == "verdict"]
    for binary, flags in ((figures.strict, ("Controversial", "Unsafe")), (figures.loose, ("Unsafe",))):
        flagged = {text for text in judged if broken.severity(text) in flags}
        hits, harmful = len(flagged & HARMFUL), len(HARMFUL.intersection(judged))
        assert binary.rows == len(judged)
        assert binary.harmful == harmful
        assert binary.precision == pytest.approx(hits / len(flagged))
        assert binary.recall == pytest.approx(hits / harmful)
        assert binary.f1 == pytest.approx(2 * hits / (len(flagged) + harmful))
        assert binary.false_positive_rate == pytest.approx((len(flagged) - hits) / (len(judged) - harmful))
        assert binary.auc is not None
        assert 0.3 < binary.auc < 0.7
    # Its verdicts are random, but its probabilities are high.
    for modes in made.reliability.values():
        assert all(one.calibration_error > 0.25 for one in modes.values())
    assert sum(sum(row.values()) for row in figures.confusion.values()) == ROWS
    assert sum(row["no verdict"] for row in figures.confusion.values()) == ROWS - len(judged)


@pytest.mark.parametrize("rows", [16, ROWS])
def test_a_server_that_is_no_guard_ends_the_run_with_a_remedy(
    broken: BrokenGuard, url: str, data: Path, rows: int
) -> None:
    broken.unreadable = 1.0
    result = evaluate(url, data, "--sample", str(rows))
    assert result.exit_code == 1
    assert "Error: broken-guard at " in result.stderr
    assert "is no Qwen3Guard" in result.stderr
    assert "I would rather talk about the weather." in result.stderr
    assert "Remedy: Name the guard with --guard-url" in result.stderr
    # Nothing is kept, so that the guard that is named next is asked for every row.
    broken.unreadable = 0.0
    evaluate(url, data, "--sample", str(rows))
    assert report(data).judged == rows


def test_replies_that_cannot_be_read_before_the_first_verdict_are_kept(
    broken: BrokenGuard, url: str, data: Path
) -> None:
    broken.unreadable = 0.9
    result = evaluate(url, data)
    fates = [broken.fate(text) for text in TEXTS]
    # So that the case occurs: the verdicts of this guard do not begin with the first row.
    assert fates[0] == "unreadable"
    assert result.exit_code == 0, result.stderr
    assert report(data).sets["weather"].outcomes["unreadable"] == fates.count("unreadable")


def test_a_guard_that_is_silent_has_no_figures(broken: BrokenGuard, url: str, data: Path) -> None:
    broken.unreadable, broken.silent = 0.0, 1.0
    alone = ("--sample", "16", "--concurrency", "16")
    result = evaluate(url, data, *alone, "--threshold", "0.1", timeout=TIMEOUT)
    assert result.exit_code == 0, result.output
    made = report(data)
    figures = made.sets["weather"]
    assert [name for name, count in figures.outcomes.items() if count] == ["time-out"]
    assert (figures.rows, made.judged, figures.strict.rows, figures.loose.f1) == (16, 0, 0, None)
    assert (made.reliability, made.refusals, made.speed.verdicts_per_second) == ({}, {}, None)
    assert not any(made.thresholds.values())
    asked = broken.asked.total()
    assert "0 to judge" in evaluate(url, data, *alone, timeout=TIMEOUT).output
    assert broken.asked.total() == asked


def test_rows_of_ones_own_need_no_package_for_data_sets(url: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert evaluate(url, data, "--sample", "4").exit_code == 0
    result = evaluate(url, data, "--data", "walledai/XSTest")
    assert result.exit_code == 1
    assert "Error: datasets is not installed" in result.stderr
    assert f"Remedy: {install_extra('datasets')}" in result.stderr


def test_missing_verdicts_are_reported_first(broken: BrokenGuard, url: str, data: Path) -> None:
    evaluate(url, data)
    text = (data.parent / "out" / "report.md").read_text()
    fates = [broken.fate(text) for text in TEXTS]
    missing = ROWS - fates.count("verdict")
    assert f"**{missing} of {ROWS} rows have no verdict (unreadable {fates.count('unreadable')})" in text
    assert text.index("no verdict") < text.index("## By set")


def test_speed_and_cost_count_only_rows_with_a_verdict(broken: BrokenGuard, url: str, data: Path) -> None:
    broken.silent = SILENT
    evaluate(url, data, timeout=TIMEOUT)
    # Enough rows to be in the slowest twentieth, if they counted.
    assert [broken.fate(text) for text in TEXTS].count("time-out") > ROWS / 20
    speed = report(data).speed
    assert speed.p95_seconds is not None
    assert speed.p95_seconds < TIMEOUT
    assert speed.requests_per_verdict is not None
    assert speed.prompt_tokens % PROMPT_TOKENS == 0
    # The first request of each asker detects how to ask for verdicts.
    assert speed.requests_per_verdict == pytest.approx(1, abs=0.3)
    assert speed.generated_tokens_per_verdict == pytest.approx(2 * speed.requests_per_verdict)


def test_a_rerun_asks_nothing_again_and_gives_the_same_report(broken: BrokenGuard, url: str, data: Path) -> None:
    evaluate(url, data)
    first, asked = report(data), broken.asked.total()
    result = evaluate(url, data)
    assert "0 to judge" in result.output
    assert broken.asked.total() == asked
    assert report(data).model_dump(exclude={"made"}) == first.model_dump(exclude={"made"})


def test_a_larger_run_asks_only_for_the_additional_rows(broken: BrokenGuard, url: str, data: Path) -> None:
    evaluate(url, data, "--sample", "50")
    assert report(data).rows == 50
    before = set(broken.asked)
    evaluate(url, data)
    assert report(data).rows == ROWS
    assert before < set(broken.asked)
    broken_once = {text for text in before if broken.fate(text) == "verdict" and broken.asked[text] > 3}
    assert not broken_once


def test_retry_asks_again_only_for_missing_verdicts(broken: BrokenGuard, url: str, data: Path) -> None:
    broken.silent = SILENT
    evaluate(url, data, timeout=TIMEOUT)
    without = {text for text in TEXTS if broken.fate(text) != "verdict"}
    broken.unreadable = broken.silent = 0
    broken.asked.clear()
    evaluate(url, data, "--retry")
    assert set(broken.asked) == without
    assert report(data).judged == ROWS


def test_equal_conversations_are_judged_once_and_count_in_every_set(broken: BrokenGuard, url: str, data: Path) -> None:
    copy = data.with_name("copy.jsonl")
    copy.write_bytes(data.read_bytes())
    evaluate(url, data, "--data", str(copy))
    assert report(data).rows == 2 * ROWS
    assert report(data).sets["weather"] == report(data).sets["copy"]
    assert len((data.parent / "out" / "results.jsonl").read_text().splitlines()) == ROWS


def test_a_guard_that_fails_all_the_time_ends_the_run_and_is_asked_again(
    broken: BrokenGuard, url: str, data: Path
) -> None:
    broken.status = 404
    result = evaluate(url, data)
    assert result.exit_code == 1
    assert "errors in a row" in result.stderr
    assert "Remedy: " in result.stderr
    assert report(data).unasked > 0
    assert report(data).judged == 0
    broken.status = 200
    assert evaluate(url, data).exit_code == 0
    assert report(data).judged == sum(broken.fate(text) == "verdict" for text in TEXTS)


def test_rejected_rows_do_not_end_a_run(broken: BrokenGuard, url: str, data: Path) -> None:
    broken.status = 400
    assert evaluate(url, data).exit_code == 0
    assert report(data).sets["weather"].outcomes["rejected"] == ROWS
    assert f"no verdict (rejected {ROWS})" in (data.parent / "out" / "report.md").read_text()


def test_an_unreachable_guard_is_an_error_before_anything_is_written(data: Path) -> None:
    result = evaluate("http://127.0.0.1:9/v1", data)
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert not (data.parent / "out").exists()


def test_an_interrupted_run_loses_nothing(broken: BrokenGuard, url: str, data: Path) -> None:
    broken.unreadable = 0
    broken.stops_after = 20
    out = data.parent / "out"
    command = [sys.executable, "-m", "guard_server", "eval", "--guard-url", url, "--data", str(data), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--concurrency", "4"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    results = out / "results.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not results.exists() or results.read_bytes().count(b"\n") < 10:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "exception" not in said
    assert "Stopped. Run the same command to continue." in said
    kept = [json.loads(line)["key"] for line in results.read_text().splitlines()]
    assert 10 <= len(kept) < ROWS
    assert report(data).judged == len(kept)
    assert f"{ROWS - len(kept)} of {ROWS} rows were not judged" in (out / "report.md").read_text()
    broken.stops_after = None
    evaluate(url, data)
    keys = [json.loads(line)["key"] for line in results.read_text().splitlines()]
    assert keys[: len(kept)] == kept
    assert len(set(keys)) == len(keys) == ROWS


def test_results_of_another_model_or_address_are_not_used(broken: BrokenGuard, url: str, data: Path) -> None:
    evaluate(url, data)
    asked = broken.asked.total()
    evaluate(url.replace("127.0.0.1", "localhost"), data)
    assert broken.asked.total() >= 2 * asked - 2 * 16
    assert report(data).sets["weather"].rows == ROWS


def test_two_runs_are_compared(broken: BrokenGuard, url: str, data: Path) -> None:
    evaluate(url, data)
    (data.parent / "out").rename(data.parent / "first")
    evaluate(url, data, "--compare", str(data.parent / "first"), "--compare", "published")
    text = (data.parent / "out" / "report.md").read_text()
    side = text[text.index("## Side by side") :]
    f1 = report(data).sets["weather"].strict.f1
    assert f1 is not None
    assert "broken-guard (1) | broken-guard (2)" in side
    assert side.count(f"{100 * f1:.1f} / ") == 2
    assert "Table 2: English prompts" in side


def test_a_folder_without_report_cannot_be_compared(url: str, data: Path) -> None:
    result = evaluate(url, data, "--compare", str(data.parent))
    assert result.exit_code == 1
    assert "not the report of a run" in result.stderr


def test_a_missing_extra_is_named(url: str, data: Path) -> None:
    without = "import sys; sys.modules['sklearn.metrics'] = None; from guard_server.cli import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", without, "eval", "--guard-url", url, "--data", str(data)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "sklearn.metrics is not installed" in result.stderr
    assert "[eval]" in result.stderr
