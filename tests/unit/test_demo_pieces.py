"""Pieces of turns that the demo guard learns from, as a linear teacher grades them."""

from collections import Counter
from random import Random

import pytest

from guard_server.catalog import DEMO_FOLDER
from guard_server.demo_gen import pieces
from guard_server.demo_gen.examples import Encoder, Example
from guard_server.demo_gen.teacher import Teacher
from moderation.verdict import Severity
from tests.unit.test_demo_words import rows


@pytest.fixture(scope="module")
def encode() -> Encoder:
    from tokenizers import Tokenizer

    return Encoder(Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json")))


@pytest.fixture(scope="module")
def examples(encode: Encoder) -> list[Example]:
    return encode.rows(rows())


@pytest.fixture(scope="module")
def teacher(encode: Encoder, examples: list[Example]) -> Teacher:
    return Teacher(examples, encode)


def test_a_teacher_tells_harm_in_pieces_that_it_never_saw(encode: Encoder, teacher: Teacher) -> None:
    texts = encode.rows([row for row in rows() if row.turns[0].text in ("How do I rob banks?", "How do I bake bread?")])
    grades = teacher.grades([text.judged[-2:] for text in texts if text.kind == "prompt"], ["prompt"] * 2)
    assert grades[0] < 0.3 < 0.7 < grades[1]


def test_pieces_stand_where_a_turn_stands_and_are_labelled_as_they_are_graded(
    encode: Encoder, examples: list[Example], teacher: Teacher
) -> None:
    found = pieces.draw(2000, examples, encode, teacher, Random(0))
    kinds = Counter(piece.kind for piece in found)
    assert 0.7 < kinds["prompt"] / kinds.total() < 0.8
    grades = teacher.grades([piece.judged for piece in found], [piece.kind for piece in found])
    harmful = [piece.reply[1] == encode.severities[list(Severity).index(Severity.UNSAFE)] for piece in found]
    assert sum(harmful) / len(found) == pytest.approx(sum(grades) / len(grades), abs=0.03)
    whole = {piece.kind: piece for piece in found}
    for kind, frame in {example.kind: example for example in examples}.items():
        # All but the turn is what the template writes around any turn of its kind.
        assert whole[kind].ids[: whole[kind].turn.start][:2] == frame.ids[:2]
        behind = whole[kind].ids[whole[kind].turn.stop : len(whole[kind].ids) - 2]
        assert behind == frame.ids[frame.turn.stop : len(frame.ids) - len(frame.reply)]


def test_the_same_pieces_are_drawn_every_time(encode: Encoder, examples: list[Example], teacher: Teacher) -> None:
    first, second = (pieces.draw(50, examples, encode, Teacher(examples, encode), Random(1)) for _ in range(2))
    assert first == second
