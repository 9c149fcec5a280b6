"""A linear model over n-grams that grades texts nobody labelled, for the demo guard to learn from.

On sources it has never seen, such a model errs elsewhere than a small network, and the mean of both beat either
(measured once, with one group of sources left out). A network cannot be served together with it, but it learns some of
the linear model's judgement from graded pieces of text. Imports scikit-learn only where a teacher is fitted.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, get_args

from guard_server.demo_gen.draw import shortened
from guard_server.demo_gen.rows import Row
from moderation.verdict import Kind, Severity

# Character n-grams reach into languages without spaces between words; pairs of words are what subwords alone miss.
_CHARACTERS: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 5), "max_features": 200_000, "min_df": 3}
_WORDS: dict[str, Any] = {"ngram_range": (1, 2), "max_features": 100_000, "min_df": 2}
_INVERSE_REGULARIZATION = 4.0
_READ_BYTES = 1600
# Of a graded piece: its length in characters, and how often it is one piece, two of different rows, or a whole turn.
_PIECE = (15, 160)
_ONE, _TWO = 0.35, 0.35


class Teacher:
    """A linear model for prompts and one for answers, fitted to `rows` (Controversial ones aside) by their weights."""

    def __init__(self, rows: Sequence[Row]) -> None:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        self._rows = {kind: [row for row in rows if row.kind == kind] for kind in get_args(Kind)}
        self._models = {}
        for kind, known in self._rows.items():
            known = [row for row in known if row.severity is not Severity.CONTROVERSIAL]
            model = make_pipeline(
                make_union(
                    TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **_CHARACTERS),
                    TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **_WORDS),
                ),
                LogisticRegression(C=_INVERSE_REGULARIZATION, solver="liblinear", random_state=0),
            )
            harmful = [row.severity is Severity.UNSAFE for row in known]
            model.fit(
                [_read(row) for row in known], harmful, logisticregression__sample_weight=[row.weight for row in known]
            )
            self._models[kind] = model

    def grade(self, rows: Sequence[Row]) -> list[float]:
        """P(Unsafe) of each row's last turn in its context."""
        grades = [0.0] * len(rows)
        for kind, model in self._models.items():
            places = [place for place, row in enumerate(rows) if row.kind == kind]
            if places:
                found = model.predict_proba([_read(rows[place]) for place in places])[:, 1]
                for place, grade in zip(places, found, strict=True):
                    grades[place] = float(grade)
        return grades

    def pieces(self, count: int, rng: Random) -> list[Row]:
        """`count` graded rows made of pieces of the rows that this teacher was fitted to."""
        drawn = []
        for rows in self._rows.values():
            share = round(count * len(rows) / sum(map(len, self._rows.values())))
            weights = [row.weight for row in rows]
            firsts, seconds = (rng.choices(rows, weights, k=share) for _ in range(2))
            drawn += [_piece(first, second, rng) for first, second in zip(firsts, seconds, strict=True)]
        return [
            replace(row, unsafe=grade, severity=Severity.UNSAFE if grade >= 0.5 else Severity.SAFE)
            for row, grade in zip(drawn, self.grade(drawn), strict=True)
        ]


def _read(row: Row) -> str:
    return shortened("\n".join(turn.text for turn in row.turns[-2:]), _READ_BYTES)


def _piece(row: Row, other: Row, rng: Random) -> Row:
    chance = rng.random()
    text = row.turns[-1].text
    if chance < _ONE:
        text = _cut_out(text, rng)
    elif chance < _ONE + _TWO:
        text = f"{_cut_out(text, rng)} {_cut_out(other.turns[-1].text, rng)}"
    turns = (*row.turns[-2:-1], row.turns[-1]._replace(text=shortened(text, _READ_BYTES // 3)))
    return replace(row, turns=turns, categories=None, refusal=False if row.kind == "response" else None)


def _cut_out(text: str, rng: Random) -> str:
    size = rng.randint(*_PIECE)
    start = rng.randrange(max(1, len(text) - size))
    # From a word's beginning, where the text has words with spaces between them.
    start = text.find(" ", start, start + 12) + 1 or start
    return text[start : start + size]
