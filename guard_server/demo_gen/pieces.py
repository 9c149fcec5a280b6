"""Texts made of pieces of turns, which the network learns beside whole turns, each as harmful as its worst piece.

Whole turns have few labels, and a network that sees only them learns by heart where they come from. Pieces, put
together at random, are without end; a teacher says which of them do harm, and a harmless one beside a harmful
one makes it no better. Imports neither torch nor transformers.
"""

from collections.abc import Sequence
from itertools import chain, islice
from random import Random
from typing import Any, NamedTuple, Protocol

from guard_server.demo_gen.examples import Encoder, Example
from guard_server.demo_gen.rows import Row
from moderation.conversation import Turn
from moderation.verdict import Kind, Severity

# Tokens of a piece, short ones being more frequent, and how many pieces make a text; which share of texts are prompts.
_SHORTEST, _LONGEST = 2, 96
_MOST = 3
_PROMPTS = 0.6
# Some texts say the same again and again, in at most so many tokens: who repeats a harmful word a hundred times must
# not carry the network to where it never was.
_REPEATED, _REPEATED_TOKENS = 0.04, 1024


class Grader(Protocol):
    """What `teacher.Teacher` is."""

    def grades(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[float]:
        """P(Unsafe) of each text."""


class Piece(NamedTuple):
    """Some of a turn, as token ids and as characters."""

    ids: list[int]
    text: str


def draw(count: int, examples: Sequence[Example], encode: Encoder, teacher: Grader, rng: Random) -> list[Example]:
    """At most `count` texts put together from pieces of the judged turns of `examples`.

    The target of each is the probability that the teacher gives its worst piece.
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


def _pieces(turns: Sequence[str], read: Sequence[Any], rng: Random) -> list[Piece]:
    pieces = []
    for _ in range(rng.randint(1, _MOST)):
        place = rng.randrange(len(turns))
        size = len(read[place])
        if size >= _SHORTEST:
            length = min(size, round(_SHORTEST * (_LONGEST / _SHORTEST) ** rng.random()))
            start = rng.randrange(size - length + 1)
            offsets = read[place].offsets[start : start + length]
            text = turns[place][offsets[0][0] : offsets[-1][1]]
            pieces.append(Piece(read[place].ids[start : start + length], text))
    return pieces


def _frame(encode: Encoder, answered: bool) -> Example:
    """A conversation whose last turn is to be replaced."""
    turns = (Turn("user", "hello"), Turn("assistant", "hello"))[: 1 + answered]
    return encode.rows([Row(turns, Severity.SAFE, None, None, "pieces", "en")])[0]
