"""Texts made of random pieces of turns, used for training in addition to whole turns.

There are few labelled whole turns, and a network that sees only them memorises where they come from. Random
combinations of pieces are unlimited. A teacher grades each piece, and a text is as harmful as its worst piece: harmless
text next to a harmful piece does not make it better. Imports neither torch nor transformers.
"""

from collections.abc import Sequence
from itertools import chain, islice
from random import Random
from typing import Any, NamedTuple, Protocol

from moderation.conversation import Turn
from moderation.verdict import Kind, Severity
from training.gen.examples import Encoder, Example
from training.gen.training_rows import TrainingRow

# Range of a piece's length in tokens (short pieces are more frequent); most pieces in a text; the share of prompts.
_SHORTEST, _LONGEST = 2, 96
_MOST = 3
_PROMPTS = 0.6
# A share of texts repeats the same pieces many times, up to this many tokens: repetition of a harmful word must not
# give the network an input unlike all that it was trained on.
_REPEATED, _REPEATED_TOKENS = 0.04, 1024


class Grader(Protocol):
    """The part of `teacher.Teacher` that is used here."""

    def grades(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[float]:
        """P(Unsafe) of each text."""


class TextPiece(NamedTuple):
    """A part of a turn, as token ids and as text."""

    ids: list[int]
    text: str


def draw(count: int, examples: Sequence[Example], encode: Encoder, teacher: Grader, rng: Random) -> list[Example]:
    """At most `count` texts made of pieces of the judged turns of `examples`.

    The target of each is the teacher's P(Unsafe) for its worst piece.
    """
    turns = [example.text for example in examples]
    read = encode.read(turns)
    texts = [pieces for pieces in (_pieces(turns, read, rng) for _ in range(count)) if pieces]
    frames = [_frame(encode, answered) for answered in (False, True)]
    chosen = [frames[rng.random() >= _PROMPTS] for _ in texts]
    kinds = [frame.kind for pieces, frame in zip(texts, chosen, strict=True) for _ in pieces]
    grades = iter(teacher.grades([piece.text for pieces in texts for piece in pieces], kinds))
    found = []
    for pieces, frame in zip(texts, chosen, strict=True):
        worst = max(islice(grades, len(pieces)))
        ids = [*chain.from_iterable(piece.ids for piece in pieces)]
        times = rng.randint(1, _REPEATED_TOKENS // len(ids)) if rng.random() < _REPEATED else 1
        found.append(encode.framed(frame, ids * times, " ".join(piece.text for piece in pieces), worst))
    return found


def _pieces(turns: Sequence[str], read: Sequence[Any], rng: Random) -> list[TextPiece]:
    pieces = []
    for _ in range(rng.randint(1, _MOST)):
        place = rng.randrange(len(turns))
        size = len(read[place])
        if size >= _SHORTEST:
            length = min(size, round(_SHORTEST * (_LONGEST / _SHORTEST) ** rng.random()))
            start = rng.randrange(size - length + 1)
            offsets = read[place].offsets[start : start + length]
            text = turns[place][offsets[0][0] : offsets[-1][1]]
            pieces.append(TextPiece(read[place].ids[start : start + length], text))
    return pieces


def _frame(encode: Encoder, answered: bool) -> Example:
    """A conversation in which the last turn will be replaced."""
    turns = (Turn("user", "hello"), Turn("assistant", "hello"))[: 1 + answered]
    return encode.rows([TrainingRow(turns, Severity.SAFE, None, None, "pieces", "en")])[0]
