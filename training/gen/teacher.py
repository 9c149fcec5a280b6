"""The teacher that grades texts for the network: linear models that know more than the network can learn from labels.

One reads sentence vectors of a pretrained encoder, one reads tokens and pairs of tokens, one reads n-grams of
characters. Imports neither torch nor transformers; scikit-learn only for training.
"""

from collections.abc import Callable, Sequence
from typing import Any

from moderation.verdict import Kind
from training.gen import sentence_vectors
from training.gen.examples import Encoder, Example
from training.gen.word_statistics import spelled, with_kinds

_PAIRS = {"token_pattern": r"\S+", "ngram_range": (1, 2), "min_df": 2}
_CHARACTERS = {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 3, "max_features": 400_000}
# Inverse of the regularization. A pair of tokens is rare and means much; a few characters are frequent and mean little.
_TRUST_PAIRS, _TRUST_CHARACTERS, _TRUST_VECTORS = 64.0, 4.0, 10.0
# Factor on sentence vectors: they have length one, and their cosines are close together.
_SCALE = 20.0


class Teacher:
    """Learns from the judged turns of `examples`, then grades any text.

    Args:
        processes: number of processes that compute sentence vectors.
    """

    def __init__(self, examples: Sequence[Example], encode: Encoder, processes: int) -> None:
        safe, _, unsafe = encode.severities
        learnt = [example for example in examples if example.reply[1] in (safe, unsafe)]
        texts = [example.text for example in learnt]
        kinds = [example.kind for example in learnt]
        harmful = [example.reply[1] == unsafe for example in learnt]

        def linear(features: Any, trust: float, solver: str) -> _Linear:
            return _Linear(features, trust, solver).fit(texts, kinds, harmful)

        self._sentences = linear(_Vectors(processes), _TRUST_VECTORS, "lbfgs")
        self._spelling = [
            linear(_tfidf(_PAIRS, lambda text: spelled(encode.read([text])[0].ids)), _TRUST_PAIRS, "liblinear"),
            linear(_tfidf(_CHARACTERS, lambda text: encode.folded([text])[0]), _TRUST_CHARACTERS, "liblinear"),
        ]

    def sense(self, texts: Sequence[str], kinds: Sequence[Kind]) -> Any:
        """Log odds of Unsafe by the sentence model alone, (texts,). For training texts, the other models have memorised
        the labels."""
        return self._sentences.odds(texts, kinds)

    def grades(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[float]:
        """P(Unsafe) of each text, by the mean of all models' log odds."""
        from scipy.special import expit

        odds = [model.odds(texts, kinds) for model in (self._sentences, *self._spelling)]
        found: list[float] = expit(sum(odds) / len(odds)).tolist()
        return found


class _Vectors:
    """Sentence vectors as features for scikit-learn."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def fit_transform(self, texts: Sequence[str]) -> Any:
        return self.transform(texts)

    def transform(self, texts: Sequence[str]) -> Any:
        return _SCALE * sentence_vectors.vectors(texts, self._processes)


class _Linear:
    """A logistic regression over features. Prompts and answers differ by a constant only."""

    def __init__(self, features: Any, trust: float, solver: str) -> None:
        from sklearn.linear_model import LogisticRegression

        self._features = features
        self._model = LogisticRegression(C=trust, solver=solver, max_iter=1000, random_state=0)

    def fit(self, texts: Sequence[str], kinds: Sequence[Kind], harmful: Sequence[bool]) -> "_Linear":
        self._model.fit(with_kinds(self._features.fit_transform(texts), kinds), harmful)
        return self

    def odds(self, texts: Sequence[str], kinds: Sequence[Kind]) -> Any:
        return self._model.decision_function(with_kinds(self._features.transform(texts), kinds))


def _tfidf(options: dict[str, Any], read: Callable[[str], str]) -> Any:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, preprocessor=read, **options)
