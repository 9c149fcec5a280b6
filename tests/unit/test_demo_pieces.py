"""Pieces of turns that the demo guard learns from, as a linear teacher grades them."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from guard_server.catalog import DEMO_FOLDER
from guard_server.demo_gen import pieces
from guard_server.demo_gen.examples import Encoder, Example
from guard_server.demo_gen.teacher import Teacher
from moderation.verdict import Kind
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


class Certain:
    """A teacher to whom one word is harm, and nothing else is."""

    def __init__(self, word: int) -> None:
        self._word = word

    def grades(self, texts: Sequence[Sequence[int]], kinds: Sequence[Kind]) -> list[float]:
        assert len(texts) == len(kinds)
        return [float(self._word in text) for text in texts]


def test_a_text_is_as_harmful_as_its_worst_piece(encode: Encoder, examples: list[Example]) -> None:
    word = examples[-1].judged[-2]
    found = pieces.draw(500, examples, encode, Certain(word), Random(0))
    harmful = [word in piece.judged for piece in found]
    assert any(harmful)
    safe, _, unsafe = encode.severities
    # What a reply may end with, and how much it counts: either Safe or Unsafe here, since the teacher is certain.
    assert {piece.reply[1] for piece in found} == {safe}
    assert {piece.instead and piece.instead[0] for piece in found} == {unsafe}
    assert [piece.worth[1] == 0 for piece in found] == harmful
    assert [piece.instead is not None and piece.instead[1] > 0 for piece in found] == harmful


def test_pieces_stand_where_a_turn_stands(encode: Encoder, examples: list[Example], teacher: Teacher) -> None:
    found = pieces.draw(500, examples, encode, teacher, Random(0))
    kinds = Counter(piece.kind for piece in found)
    assert 0.55 < kinds["prompt"] / kinds.total() < 0.65
    made = {piece.kind: piece for piece in found}
    for kind, whole in {example.kind: example for example in examples}.items():
        piece = made[kind]
        # All but the turns is what the template writes around any turn of its kind.
        assert piece.ids[: piece.turn.start][:2] == whole.ids[:2]
        behind = piece.ids[piece.turn.stop : len(piece.ids) - len(piece.reply)]
        assert behind == whole.ids[whole.turn.stop : len(whole.ids) - len(whole.reply)]


def test_the_same_pieces_are_drawn_every_time(encode: Encoder, examples: list[Example], teacher: Teacher) -> None:
    first, second = (pieces.draw(50, examples, encode, Teacher(examples, encode), Random(1)) for _ in range(2))
    assert first == second
