"""Two linear models, one over pairs of tokens and one over characters, and what they think of a piece of text.

They see more than the words that are planted in the network, and on prompts of unknown sources they err less than a
network that learns from labels alone. Imports neither torch nor transformers; scikit-learn only where one learns.
"""

from collections.abc import Callable, Sequence
from typing import Any

from guard_server.demo_gen.examples import Encoder, Example
from guard_server.demo_gen.words import beside, spelled
from moderation.verdict import Kind

_PAIRS = {"token_pattern": r"\S+", "ngram_range": (1, 2), "min_df": 2}
_CHARACTERS = {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 3, "max_features": 400_000}
# Inverse of the regularization: a pair of tokens is rare and says much, a few characters are not and do not.
_TRUST_PAIRS, _TRUST_CHARACTERS = 64.0, 4.0


class Teacher:
    """Learns from the judged turns of `examples`, then grades any text."""

    def __init__(self, examples: Sequence[Example], encode: Encoder) -> None:
        safe, _, unsafe = encode.severities
        learnt = [example for example in examples if example.reply[1] in (safe, unsafe)]
        texts = [example.judged for example in learnt]
        kinds = [example.kind for example in learnt]
        harmful = [example.reply[1] == unsafe for example in learnt]
        self._models = [
            _Linear(read, options, trust).fit(texts, kinds, harmful)
            for read, options, trust in (
                (_numbers, _PAIRS, _TRUST_PAIRS),
                (encode.decode, _CHARACTERS, _TRUST_CHARACTERS),
            )
        ]

    def grades(self, texts: Sequence[Sequence[int]], kinds: Sequence[Kind]) -> list[float]:
        """P(Unsafe) of each text, which is given as token ids, by the mean of both models' log odds."""
        from scipy.special import expit

        found: list[float] = expit(sum(model.odds(texts, kinds) for model in self._models) / len(self._models)).tolist()
        return found


class _Linear:
    """A logistic regression over TF-IDF, where a prompt and an answer differ by a constant only."""

    def __init__(
        self, read: Callable[[Sequence[Sequence[int]]], list[str]], options: dict[str, Any], trust: float
    ) -> None:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self._read = read
        self._vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)
        self._model = LogisticRegression(C=trust, solver="liblinear", random_state=0)

    def fit(self, texts: Sequence[Sequence[int]], kinds: Sequence[Kind], harmful: Sequence[bool]) -> "_Linear":
        self._model.fit(beside(self._vectorizer.fit_transform(self._read(texts)), kinds), harmful)
        return self

    def odds(self, texts: Sequence[Sequence[int]], kinds: Sequence[Kind]) -> Any:
        """Log odds of Unsafe, (texts,)."""
        return self._model.decision_function(beside(self._vectorizer.transform(self._read(texts)), kinds))


def _numbers(texts: Sequence[Sequence[int]]) -> list[str]:
    return [spelled(text) for text in texts]
