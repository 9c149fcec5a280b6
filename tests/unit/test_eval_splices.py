"""Answers with an unsafe sentence at a known position."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from guard_server import cli
from guard_server.evaluation.data.rows import Row, read
from guard_server.evaluation.data.splices import splices
from guard_server.evaluation.report.report import load
from moderation.conversation import Turn
from moderation.verdict import Category, Severity
from tests.stands.guards.stream_server import StreamServer
from tests.stands.guards.stub_stream import StubStream
from tests.stands.servers import serve

SAFE, UNSAFE = Severity.SAFE, Severity.UNSAFE
BAD = "BAD BAD, and so it goes on."
BREAD = "Take flour. Then add water, and wait! Bake it at 3.5 bar (not more) for an hour?\nThat is all there is to it."
FARINE = "Prenez de la farine. Ajoutez de l'eau, et attendez. Voilà tout ce qu'il faut pour faire du pain."
MIAN = "先准备面粉。再加入水，揉成面团，静置一个小时，让它慢慢发起来！最后放进预热好的烤箱里，烤一个小时，就可以吃了。"


def prompt(text: str, label: Severity = UNSAFE, lang: str = "en", **fields: Any) -> Row:
    return Row(set="s", conversation=(Turn("user", text),), label=label, lang=lang, **fields)


def answer(text: str, label: Severity = SAFE, lang: str = "en") -> Row:
    return Row(set="s", conversation=(Turn("user", "How?"), Turn("assistant", text)), label=label, lang=lang)


def made(rows: list[Row], count: int = 20, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in splices(rows, count, seed, **options)]


def parts(splice: dict[str, Any]) -> tuple[str, str, str]:
    text = splice["messages"][-1]["content"]
    start, end = splice["unsafe_start"], splice["unsafe_end"]
    return text[:start], text[start:end], text[end:]


@pytest.mark.parametrize(
    ("carrier", "lang", "gap", "sentences"), [(BREAD, "en", " ", 4), (FARINE, "fr", " ", 3), (MIAN, "zh", "", 3)]
)
def test_a_sentence_follows_one_of_a_harmless_answer(carrier: str, lang: str, gap: str, sentences: int) -> None:
    found = [parts(splice) for splice in made([prompt(BAD, lang=lang), answer(carrier, lang=lang)], 40)]
    assert {sentence for _, sentence, _ in found} == {BAD}
    for before, _, after in found:
        # The harmless answer is complete, and it is split at the end of a sentence.
        assert "".join((before + after).split()) == "".join(carrier.split())
        assert before.rstrip()[-1] in ".!?。！"
        assert before == before.rstrip() + gap
    assert len({before for before, _, _ in found}) == sentences


def test_the_conversation_is_that_of_the_harmless_answer() -> None:
    (splice,) = made([prompt(BAD, categories=frozenset({Category.VIOLENT})), answer(BREAD)], 1)
    assert [message["role"] for message in splice["messages"]] == ["user", "assistant"]
    assert splice["messages"][0]["content"] == "How?"
    assert (splice["label"], splice["lang"], splice["categories"]) == ("Unsafe", "en", ["Violent"])


def test_the_seed_determines_the_splices() -> None:
    rows = [prompt(f"{BAD[:-1]} {number}.") for number in range(9)] + [answer(BREAD), answer(f"{BREAD} So it is.")]
    assert made(rows) == made(rows)
    assert made(rows) != made(rows, seed=1)
    used = [parts(splice)[1] for splice in made(rows, 18)]
    assert {used.count(text) for text in used} == {2}


JAILBREAK = frozenset({Category.JAILBREAK, Category.VIOLENT})


@pytest.mark.parametrize(
    "row",
    [
        prompt("BAD BAD, and so it goes on?"),
        prompt(f"{BAD} And on."),
        prompt("BAD."),
        prompt(BAD, SAFE),
        prompt(BAD, Severity.CONTROVERSIAL),
        prompt(BAD, lang="de"),
        prompt(BAD, categories=JAILBREAK),
        answer(BAD, UNSAFE),
    ],
)
def test_only_sentences_that_are_harmful_by_themselves_are_used(row: Row) -> None:
    rows = [answer(BREAD), prompt("BAD BAD, and this is taken."), row]
    assert {parts(splice)[1] for splice in made(rows)} == {"BAD BAD, and this is taken."}


def test_categories_may_be_chosen() -> None:
    wanted, other = frozenset({Category.UNETHICAL_ACTS}), frozenset({Category.PII})
    rows = [answer(BREAD), prompt(BAD, categories=wanted), prompt("No category, BAD BAD."), prompt("P" * 30)]
    rows += [prompt("BAD BAD, and other.", categories=other), prompt("BAD BAD, and both.", categories=wanted | other)]
    assert {parts(splice)[1] for splice in made(rows, categories=list(wanted))} == {BAD}


def run(*command: str) -> Result:
    return CliRunner().invoke(cli.app, list(command), env={"COLUMNS": "200"})


def test_eval_reports_how_soon_a_stream_model_flags_them(tmp_path: Path) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "splices.jsonl"
    messages = [[{"role": "user", "content": BAD}], [{"role": "user", "content": "How?"}]]
    messages[1].append({"role": "assistant", "content": BREAD})
    rows = [{"messages": messages[0], "label": "Unsafe", "split": "valid", "lang": "en"}]
    rows += [{"messages": messages[1], "label": "Safe", "split": "valid", "lang": "en"}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["splice", "--data", str(data), "--out", str(out), "--count", "12"]
    assert run(*command).output.startswith("12 answers in ")
    first = out.read_bytes()
    run(*command, "--split", "valid")
    assert out.read_bytes() == first
    distinct = len({row.key for row in read(out)})
    with serve(StreamServer(model=StubStream(unsafe="BAD")).app) as url:
        result = run("eval", "--guard-url", f"{url}/v1", "--data", str(out), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    report = load(tmp_path / "out")
    assert report.timeliness["splices"]["strict"].exact_hit == 1
    assert report.timeliness["splices"]["strict"].rows == 12
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == distinct


def test_data_without_such_sentences_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"messages": [{"role": "user", "content": "How?"}], "label": "Safe"}) + "\n")
    result = run("splice", "--data", str(data), "--out", str(tmp_path / "out.jsonl"))
    assert result.exit_code == 1
    assert "no harmful sentence" in result.stderr
    assert "Remedy: Name data with Unsafe prompts and Safe answers" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()
