"""Pieces of turns that the network learns beside whole ones, each labelled as a linear teacher grades it.

Whole turns have few labels, and a network that sees only them learns by heart where they come from. Pieces, put
together at random, are without end; what the teacher says of them is which words and phrases do harm.
Imports neither torch nor transformers.
"""

from collections.abc import Sequence
from random import Random

from guard_server.demo_gen.examples import Encoder, Example
from guard_server.demo_gen.rows import Row
from guard_server.demo_gen.teacher import Teacher
from moderation.conversation import Turn
from moderation.verdict import Severity

# Tokens of a piece, one or two of which make a text; and which share of the texts are prompts.
_SHORTEST, _LONGEST = 2, 24
_PROMPTS = 0.75
# Some texts say the same again and again, at most so many times: who repeats a harmful word a hundred times must not
# carry the network to where it never was.
_REPEATED, _TIMES = 0.04, 32


def draw(count: int, examples: Sequence[Example], encode: Encoder, teacher: Teacher, rng: Random) -> list[Example]:
    """At most `count` texts put together from pieces of the judged turns of `examples`.

    A label is drawn by the teacher's probability, so that the mean over many is its grade.
    """
    texts = [text for text in (_text(examples, rng) for _ in range(count)) if text]
    frames = [_frame(encode, answered) for answered in (False, True)]
    chosen = [frames[rng.random() >= _PROMPTS] for _ in texts]
    grades = teacher.grades(texts, [frame.kind for frame in chosen])
    return [
        encode.framed(frame, text, Severity.UNSAFE if rng.random() < grade else Severity.SAFE)
        for text, frame, grade in zip(texts, chosen, grades, strict=True)
    ]


def _text(examples: Sequence[Example], rng: Random) -> list[int]:
    text: list[int] = []
    for _ in range(rng.choice((1, 1, 2))):
        turn = rng.choice(examples).judged
        if len(turn) >= _SHORTEST:
            length = min(len(turn), rng.randint(_SHORTEST, _LONGEST))
            start = rng.randrange(len(turn) - length + 1)
            text += turn[start : start + length]
    return text * (rng.randint(2, _TIMES) if rng.random() < _REPEATED else 1)


def _frame(encode: Encoder, answered: bool) -> Example:
    """A conversation whose last turn is to be replaced."""
    turns = (Turn("user", "hello"), Turn("assistant", "hello"))[: 1 + answered]
    return encode.rows([Row(turns, Severity.SAFE, None, None, "pieces", "en")])[0]
