"""`eval` on a Stream endpoint: verdicts, and how soon an answer is flagged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from typer.testing import CliRunner, Result

from guard_server import cli
from guard_server.evaluation.report.report import EvaluationReport, load
from tests.stands.guards.stream_server import StreamServer, broken_server
from tests.stands.servers import serve

# A token is a word with the space before it.
BEFORE, SENTENCE = "one two three four", " here it begins."


@pytest.fixture(autouse=True)
def _no_shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hub-cache"))


@pytest.fixture
def stream() -> StreamServer:
    async def detokenize(request: Request) -> JSONResponse:
        # As if each character were a token with its code point as id.
        return JSONResponse({"prompt": "".join(map(chr, (await request.json())["tokens"]))})

    return StreamServer(Route("/detokenize", detokenize, methods=["POST"]))


@pytest.fixture
def url(stream: StreamServer) -> Iterator[str]:
    with serve(stream.app) as url:
        yield f"{url}/v1"


def asked(stream: StreamServer) -> int:
    """Number of judged turns."""
    return len({key for key, _, _ in stream.model.asked})


def answer(text: str, start: int | None = None, end: int | None = None, label: str = "Unsafe") -> str:
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": text}]
    row = {"messages": messages, "label": label, "unsafe_start": start, "unsafe_end": end}
    return json.dumps(row) + "\n"


def late(words: int) -> str:
    """An answer whose second flagged word is `words` words after the marked sentence."""
    text = BEFORE + SENTENCE + "".join(f" w{number}" for number in range(words - 2)) + " bad bad"
    return answer(text, len(BEFORE), len(BEFORE + SENTENCE))


def evaluate(tmp_path: Path, url: str, lines: list[str]) -> Result:
    tmp_path.mkdir(exist_ok=True)
    data = tmp_path / "splices.jsonl"
    data.write_text("".join(lines))
    command = [
        "eval",
        "--guard-url",
        url,
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--compare",
        "published",
    ]
    result = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert "Traceback" not in result.output
    return result


def report(tmp_path: Path) -> EvaluationReport:
    return load(tmp_path / "out")


def test_the_position_of_the_flag_decides_the_bin(stream: StreamServer, url: str, tmp_path: Path) -> None:
    sentence = len(BEFORE), len(BEFORE + " bad bad bad.")
    lines = [late(words) for words in (2, 32, 33, 64, 65, 128, 129, 256, 257)]
    lines += [
        answer(BEFORE + " bad bad bad. and on", *sentence),
        answer("bad bad " + BEFORE + SENTENCE, len("bad bad " + BEFORE), len("bad bad " + BEFORE + SENTENCE)),
        answer(BEFORE + " nothing is told.", len(BEFORE), len(BEFORE + " nothing is told.")),
        answer(BEFORE + " bad alone is told.", len(BEFORE), len(BEFORE + " bad alone is told.")),
        answer("an answer without a mark bad bad"),
    ]
    assert evaluate(tmp_path, url, lines).exit_code == 0
    made = report(tmp_path).timeliness["splices"]["strict"]
    found = {"ahead": 1, "hit": 1, "1-32": 2, "33-64": 2, "65-128": 2, "129-256": 2, ">256": 1, "never": 2}
    assert made.bins == found
    assert made.rows == 13
    assert made.exact_hit == pytest.approx(1 / 13)
    assert made.within_128 == pytest.approx(8 / 13)


def test_the_published_rule_prefers_unsafe_to_controversial(url: str, tmp_path: Path) -> None:
    text = "maybe maybe " + BEFORE + " bad bad."
    both = answer(text, len("maybe maybe " + BEFORE), len(text))
    only = answer("maybe maybe " + BEFORE, 0, len("maybe maybe"))
    evaluate(tmp_path, url, [both, only])
    made = report(tmp_path).timeliness["splices"]
    hits = {rule: (one.bins["ahead"], one.bins["hit"], one.bins["never"]) for rule, one in made.items()}
    assert hits == {"strict": (1, 1, 0), "loose": (0, 1, 1), "as published": (0, 2, 0)}


def test_verdicts_and_figures_are_those_of_the_endpoint(url: str, tmp_path: Path) -> None:
    prompts = [("things bad", "Unsafe"), ("things maybe", "Safe"), ("things good", "Safe")]
    lines = [
        json.dumps({"messages": [{"role": "user", "content": text}], "label": label}) + "\n" for text, label in prompts
    ]
    lines += [answer("bad bad"), answer("maybe maybe"), answer("all is well", label="Safe")]
    evaluate(tmp_path, url, lines)
    made = report(tmp_path)
    assert (made.kind, made.model) == ("stream", "stream")
    assert made.tasks["prompt"].strict.false_positive_rate == 0.5
    assert made.tasks["prompt"].loose.f1 == 1
    assert made.tasks["prompt"].loose.auc == 1
    assert made.tasks["response"].strict.recall == 1
    assert made.tasks["response"].loose.recall == 0.5
    assert made.tasks["response"].strict.auc is None
    assert made.timeliness == {}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| Qwen3Guard-Stream-4B | 85.98 / 93.73 | 21.62 / 66.78 |" in text


def test_a_rerun_asks_nothing_again(stream: StreamServer, url: str, tmp_path: Path) -> None:
    lines = [late(40), answer("bad bad")]
    evaluate(tmp_path, url, lines)
    first = report(tmp_path)
    # For the late one, the number of tokens up to the end of the marked sentence is needed.
    assert asked(stream) == 3
    evaluate(tmp_path, url, lines)
    assert asked(stream) == 3
    assert report(tmp_path).timeliness == first.timeliness


def test_a_rejected_turn_and_an_incomplete_reply_are_no_verdicts(url: str, tmp_path: Path) -> None:
    too_long = json.dumps({"messages": [{"role": "user", "content": "word " * 5000}], "label": "Safe"}) + "\n"
    assert evaluate(tmp_path / "long", url, [too_long]).exit_code == 0
    assert report(tmp_path / "long").sets["splices"].outcomes["rejected"] == 1
    with serve(broken_server({"severity": "Safe", "final": False})) as broken:
        assert evaluate(tmp_path / "broken", f"{broken}/v1", [answer("bad bad")]).exit_code == 0
    assert report(tmp_path / "broken").sets["splices"].outcomes["unreadable"] == 1


def test_an_answer_without_a_prompt_is_judged_as_the_guard_judges_it(url: str, tmp_path: Path) -> None:
    orphan = json.dumps({"messages": [{"role": "assistant", "content": "so bad bad"}], "label": "Unsafe"}) + "\n"
    evaluate(tmp_path, url, [orphan])
    assert report(tmp_path).tasks["response"].loose.recall == 1


def test_sentences_that_are_marked_in_tokens_are_found_in_the_answer(url: str, tmp_path: Path) -> None:
    """Qwen3GuardTest marks them by positions in the whole conversation, as the model reads it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    text = BEFORE + " bad bad here. and so on"
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": text}]
    for split in ("thinking", "thinking_loc", "response_loc"):
        whole = f"<user>Count.<assistant>{text}"
        ids = [ord(char) for char in whole]
        if split == "thinking":
            ids = [ord("?")] * len(ids)
        start = whole.index("bad")
        record: dict[str, Any] = {"message": messages, "label": "Unsafe", "input_ids": ids}
        record |= {"unsafe_start_index": start, "unsafe_end_index": start + len("bad bad here.") - 1}
        (copy / f"{split}.jsonl").write_text(json.dumps(record) + "\n")
    splits = "".join(f"      - split: {path.stem}\n        path: {path.name}\n" for path in copy.glob("*.jsonl"))
    (copy / "README.md").write_text(f"---\nconfigs:\n  - config_name: default\n    data_files:\n{splits}---\n")
    command = ["eval", "--guard-url", url, "--data", f"Qwen/Qwen3GuardTest={copy}", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    made = report(tmp_path)
    hits = {name: rules["as published"].bins["hit"] for name, rules in made.timeliness.items()}
    assert hits == {"Qwen/Qwen3GuardTest:thinking_loc": 1, "Qwen/Qwen3GuardTest:response_loc": 1}
    assert made.not_located == 1
    assert "Left out: 1 rows" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("span", [(-1, 3), (3, 3), (0, 99), (5, 2)])
def test_a_mark_outside_of_the_answer_is_an_error(url: str, tmp_path: Path, span: tuple[int, int]) -> None:
    result = evaluate(tmp_path, url, [answer("bad bad", *span)])
    assert result.exit_code == 1
    assert "unsafe_start and unsafe_end are outside of the last message" in result.stderr
