"""Pieces of turns that the demo guard learns from, as a teacher grades them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from guard_server.catalog import DEMO_TOKENIZER
from moderation.conversation import Turn
from moderation.verdict import Kind, Severity
from tests.unit.test_demo_words import rows
from training.gen import pieces
from training.gen.examples import Encoder, Example
from training.gen.teacher import Teacher


@pytest.fixture(scope="module")
def encode() -> Encoder:
    from tokenizers import Tokenizer

    return Encoder(Tokenizer.from_file(str(DEMO_TOKENIZER / "tokenizer.json")))


@pytest.fixture(scope="module")
def examples(encode: Encoder) -> list[Example]:
    return encode.rows(rows())


@pytest.fixture(scope="module")
def teacher(encode: Encoder, examples: list[Example]) -> Teacher:
    return Teacher(examples, encode, 1)


def test_a_teacher_recognises_harm_in_unseen_pieces(teacher: Teacher) -> None:
    bread, banks = teacher.grades(["bake bread?", "rob banks?"], ["prompt", "prompt"])
    assert bread < 0.3 < 0.7 < banks


def test_a_teacher_recognises_harm_in_unseen_words(teacher: Teacher) -> None:
    loaf, burglary = teacher.sense(["Wie backe ich einen Kuchen?", "Wie beraube ich eine Sparkasse?"], ["prompt"] * 2)
    assert loaf < 0 < burglary


def test_a_label_is_softened_by_the_teachers_probability(encode: Encoder, examples: list[Example]) -> None:
    safe, _, unsafe = encode.severities
    pair = [next(one for one in examples if one.reply[1] == said) for said in (safe, unsafe)]
    agreed, doubted = encode.softened(pair, [0.0, 1.0]), encode.softened(pair, [0.5, 0.5])
    assert [one.worth for one in agreed] == [one.worth for one in pair]
    assert [one.instead for one in agreed] == [(unsafe, 0), (safe, 0)]
    for before, after in zip(pair, doubted, strict=True):
        assert 0 < after.worth[1] < before.worth[1]
        assert after.worth[2:] == before.worth[2:]
        assert after.instead is not None
        assert after.instead[1] > 0


def test_a_label_that_depends_on_earlier_turns_is_not_softened(encode: Encoder) -> None:
    sure = Turn("assistant", "Sure, here is how.")
    known = [replace(row, turns=(row.turns[0], sure)) for row in rows() if row.kind == "response"]
    pair = encode.rows(
        [next(row for row in known if row.severity is said) for said in (Severity.SAFE, Severity.UNSAFE)]
    )
    assert encode.softened(pair, [0.5, 0.5]) == pair


class Certain:
    """A teacher for whom only one word is harmful."""

    def grades(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[float]:
        assert len(texts) == len(kinds)
        return [float("bikes" in text) for text in texts]


def test_a_text_is_as_harmful_as_its_worst_piece(encode: Encoder, examples: list[Example]) -> None:
    found = pieces.draw(500, examples, encode, Certain(), Random(0))
    harmful = ["bikes" in piece.text for piece in found]
    assert any(harmful)
    safe, _, unsafe = encode.severities
    # The possible severities and their weights: either Safe or Unsafe here, since the teacher is certain.
    assert {piece.reply[1] for piece in found} == {safe}
    assert {piece.instead and piece.instead[0] for piece in found} == {unsafe}
    assert [piece.worth[1] == 0 for piece in found] == harmful
    assert [piece.instead is not None and piece.instead[1] > 0 for piece in found] == harmful


def test_pieces_are_parts_of_the_unchanged_text(encode: Encoder, examples: list[Example]) -> None:
    turns = [example.text for example in examples]
    drawn = pieces.draw(200, examples, encode, Certain(), Random(0))
    single = [piece for piece in drawn if any(piece.text in turn for turn in turns)]
    assert any(piece.text not in turns for piece in single)
    spelling = encode.spelling
    for piece in single:
        seen = "".join(spelling[token] for token in piece.judged)
        # Some are repeated.
        assert "".join(seen.split()).startswith("".join(encode.folded([piece.text])[0].split()))


def test_pieces_replace_a_turn(encode: Encoder, examples: list[Example], teacher: Teacher) -> None:
    found = pieces.draw(500, examples, encode, teacher, Random(0))
    kinds = Counter(piece.kind for piece in found)
    assert 0.55 < kinds["prompt"] / kinds.total() < 0.65
    made = {piece.kind: piece for piece in found}
    for kind, whole in {example.kind: example for example in examples}.items():
        piece = made[kind]
        # The rest is the template's text, which is the same around all turns of this kind.
        assert piece.ids[: piece.turn.start][:2] == whole.ids[:2]
        behind = piece.ids[piece.turn.stop : len(piece.ids) - len(piece.reply)]
        assert behind == whole.ids[whole.turn.stop : len(whole.ids) - len(whole.reply)]


def test_the_same_pieces_are_drawn_every_time(encode: Encoder, examples: list[Example], teacher: Teacher) -> None:
    first, second = (pieces.draw(50, examples, encode, Teacher(examples, encode, 1), Random(1)) for _ in range(2))
    assert first == second
