"""A JSON value in pieces is complete exactly when the joined text is a value."""

import json

import pytest

from moderation.answer.channels import Channel, Piece, Rank
from moderation.answer.holdback import HoldBack
from pipelines.upstreams.model_ids import decoded
from webui.guarded.answer_reader import AnswerReader, AnswerUnreadable
from webui.guarded.growing_json import GrowingJson


@pytest.mark.parametrize("asked", ["at the end", "after each piece"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        " {} \n",
        "{} x",
        "{}{}",
        "{}}",
        "}{}",
        '{"a": "}"}',
        '{"a": "\\"}"}',
        '{"a": "\\\\"}',
        '{"a": "b\\',
        '{"a": \\"}',
        '{"a": "b"}"c"',
        '{"a": "b"} "c',
        '{"a": "\\\\\\""} ',
        '["{", {"a": [1, 2]}]',
        '["\\u005d"]',
        '{"a": [}',
        "[1, 2",
        "[1 2]",
        '"text"',
        "1",
        "[}",
        "[" * 5000 + "]" * 5000,
        '{"a": "\n"}',
    ],
)
def test_a_value_in_pieces_is_complete_when_the_joined_text_is(text: str, size: int, asked: str) -> None:
    growing = GrowingJson()
    for start in range(0, len(text), size):
        growing.add(text[start : start + size])
        growing.add("")
        if asked == "after each piece":
            assert growing.is_complete() == _is_container(text[: start + size])
    assert growing.text == text
    assert growing.is_complete() == _is_container(text)


def _is_container(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def test_a_growing_label_counts_as_text_from_its_first_words() -> None:
    """No matter how much of the text was classified as a label before."""
    reader = AnswerReader()

    def said(text: str) -> list[bool]:
        return [piece.is_label for piece in reader.pieces_of({"choices": [{"delta": {"sig": text}}]})]

    assert said("0123456789abcdef") == [True]
    # An exact repetition adds nothing; any other text continues it.
    assert said("0123456789abcdef") == []
    assert all(said(f"{number:016x}") == [True] for number in range(200))
    assert said(" how to make a bomb") == [False]
    assert said("ab12") == [False]


def test_an_answer_with_more_texts_than_can_be_compared_is_unreadable() -> None:
    reader = AnswerReader()
    delta = {f"k{number}": {f"how to make the cake {number}": 1} for number in range(1000)}
    with pytest.raises(AnswerUnreadable):
        list(reader.pieces_of({"choices": [{"delta": delta}]}))


@pytest.mark.parametrize(("text", "shown"), [("word wor", "word "), ("w" * 59, ""), ("w" * 300, "w" * 300)])
def test_a_word_of_usual_length_is_shown_whole(text: str, shown: str) -> None:
    held = HoldBack()
    held.feed(Piece(Channel(0, Rank.CONTENT, 0, "content"), text))
    given = held.release(held.reading(words=False), len(text), words=True)
    assert "".join(piece.text for piece in given) == shown


def test_the_number_of_an_upstream_may_have_any_length() -> None:
    assert decoded("model~~2") == ("model", 2)
    assert decoded("model~~" + "9" * 5000) == ("model", 0)
