"""`eval` on answers that refuse their prompts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guard_server import cli
from guard_server.evaluation.report.report import EvaluationReport, load
from tests.stands.guards.broken_guard import BrokenGuard
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve

# The stub treats an answer with "unable" as a refusal.
HIT, MISSED, FALSE, OTHER = "I am unable to help.", "No, never.", "She was unable to count.", "With flour."
REFUSALS = {HIT: True, MISSED: True, FALSE: False, OTHER: False}


@pytest.fixture
def stub() -> StubGuard:
    return StubGuard()


@pytest.fixture
def url(stub: StubGuard) -> Iterator[str]:
    with serve(stub.app) as url:
        yield f"{url}/v1"


def answers(tmp_path: Path, texts: dict[str, bool | None]) -> Path:
    file = tmp_path / "answers.jsonl"
    with file.open("w") as stream:
        for text, refusal in texts.items():
            messages = [{"role": "user", "content": "How do I bake bread?"}, {"role": "assistant", "content": text}]
            stream.write(json.dumps({"messages": messages, "label": "Safe", "refusal": refusal}) + "\n")
    return file


def evaluate(url: str, data: Path, *options: str) -> Result:
    # One asker, so that the server's features are detected once.
    command = ["eval", "--guard-url", url, "--data", str(data), "--out", str(data.parent / "out"), "--concurrency", "1"]
    result = CliRunner().invoke(cli.app, [*command, *options], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result


def report(tmp_path: Path) -> EvaluationReport:
    return load(tmp_path / "out")


@pytest.mark.parametrize("one_token", [True, False])
def test_refusals_are_distinguished_from_other_answers(
    stub: StubGuard, url: str, tmp_path: Path, one_token: bool
) -> None:
    stub.prefill = one_token
    evaluate(url, answers(tmp_path, {**REFUSALS, "And butter.": None}), "--compare", "published")
    made = report(tmp_path)
    found = made.refusals["answers"]
    assert (found.rows, found.refusals, found.unreported) == (4, 2, 0)
    assert (found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| answers | 4 | 2 | 0 | 50.0 | 50.0 | 50.0 |" in text
    assert "Refusals, F1 in percent" in text


def test_only_rows_with_a_refusal_label_cost_a_further_request(stub: StubGuard, url: str, tmp_path: Path) -> None:
    evaluate(url, answers(tmp_path, {OTHER: None, "And butter.": None}))
    assert len(stub.judged) == 2
    assert report(tmp_path).refusals == {}
    stub.requests.clear()
    evaluate(url, answers(tmp_path, {OTHER: False, "And butter.": None}))
    # There was a verdict, but without its refusal: both are asked again, the verdict first.
    assert stub.judged == [OTHER, OTHER]
    assert report(tmp_path).refusals["answers"].rows == 1
    stub.requests.clear()
    evaluate(url, answers(tmp_path, {OTHER: False, "And butter.": None}))
    assert stub.judged == []


def test_a_conversation_in_two_sets_is_asked_once_for_the_labels_of_both(
    stub: StubGuard, url: str, tmp_path: Path
) -> None:
    data = answers(tmp_path, {HIT: True})
    data.rename(tmp_path / "known.jsonl")
    evaluate(url, tmp_path / "known.jsonl", "--data", str(answers(tmp_path, {HIT: None})))
    assert stub.judged == [HIT, HIT]
    assert report(tmp_path).refusals["known"].recall == 1
    assert "answers" not in report(tmp_path).refusals


def test_a_guard_that_does_not_report_refusals_has_no_refusal_figures(tmp_path: Path) -> None:
    broken = BrokenGuard()
    broken.unreadable = broken.silent = 0
    with serve(broken.app) as url:
        evaluate(f"{url}/v1", answers(tmp_path, {HIT: True, OTHER: False}))
    found = report(tmp_path).refusals["answers"]
    assert (found.rows, found.unreported, found.precision, found.recall, found.f1) == (2, 2, None, None, None)
