"""Reading labelled rows in our format."""

import json
from pathlib import Path
from typing import Any

import pytest

from guard_server.errors import UnreadableData
from guard_server.evaluation.data import rows
from moderation.verdict import Category, Severity
from tests.stands.chats import BOMB

BREAD = "How do I bake bread?"


def line(**fields: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": BOMB}], "label": "Unsafe", **fields}) + "\n"


def test_a_row_needs_messages_and_a_label_only(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(line() + "\n" + line(label="Safe", note="more is ignored"))
    first, second = rows.read(file)
    assert (first.set, first.task, first.lang, first.label) == ("own", "prompt", "und", Severity.UNSAFE)
    assert second.label is Severity.SAFE
    assert first.key == second.key


def test_a_folder_is_one_set_per_file(tmp_path: Path) -> None:
    answer = [{"role": "user", "content": BREAD}, {"role": "assistant", "content": "With flour."}]
    (tmp_path / "b.jsonl").write_text(line(messages=answer, task="response", label="Controversial", lang="en"))
    (tmp_path / "a.jsonl").write_text(line(split="valid"))
    (tmp_path / "README.md").write_text("not data")
    first, second = rows.read(tmp_path)
    assert (first.set, first.split) == ("a", "valid")
    assert (second.set, second.task, len(second.conversation)) == ("b", "response", 2)


@pytest.mark.parametrize("refusal", [True, False, None])
def test_an_answer_may_have_a_refusal_label(tmp_path: Path, refusal: bool | None) -> None:
    file = tmp_path / "own.jsonl"
    answer = [{"role": "user", "content": BREAD}, {"role": "assistant", "content": "With flour."}]
    file.write_text(line(messages=answer, label="Safe", refusal=refusal))
    (row,) = rows.read(file)
    assert row.refusal is refusal
    assert row.question.refusal is (refusal is not None)


@pytest.mark.parametrize(("origin", "known"), [("native", True), ("mapped", True), ("imputed", False), ("none", False)])
def test_only_categories_of_the_source_are_ground_truth(tmp_path: Path, origin: str, known: bool) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(line(categories=["Violent"], cat_origin=origin))
    (row,) = rows.read(file)
    assert row.categories == (frozenset({Category.VIOLENT}) if known else frozenset())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 2"),
        (line(label="harmful"), "label"),
        (line(messages=[]), "messages"),
        (line(messages=[{"role": "system", "content": "x"}]), "messages.0.role"),
        (line(messages=[{"role": "user", "content": " "}]), "the last message is empty"),
        (line(task="response"), "the last message is by the user"),
        (line(refusal=True), "refusal is for answers only"),
        (line(categories=["Rude"]), "categories.0"),
    ],
)
def test_a_line_that_is_no_row_is_named_with_its_field(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(line() + text)
    with pytest.raises(UnreadableData) as error:
        list(rows.read(file))
    assert "own.jsonl, line 2" in error.value.cause
    assert says in error.value.cause
    assert "Safe, Controversial, Unsafe" in error.value.remedy


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match=r"\*\.jsonl"):
        list(rows.read(tmp_path))
