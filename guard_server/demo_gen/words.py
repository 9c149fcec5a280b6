"""What words tell before any network is trained: which are harmful and how, which are rare, and which are alike.

A linear model learns from all rows in seconds which words tell harm, and it errs less on unknown sources than a network
that is left to learn words by itself. Imports neither torch nor transformers; scikit-learn only where words are learnt.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

from guard_server.demo_gen.examples import Encoder, Example
from moderation.verdict import Category, Kind

_INVERSE_REGULARIZATION = 4.0
# Positive pointwise mutual information of words that stand near each other, nearer ones counting more, and its leading
# directions by the square roots of their strengths: Levy, Goldberg and Dagan (2015), section 3, with their smoothing.
_NEAR = 4
_SMOOTHING = 0.75
_TOKENS = 120


HARMS = 1 + len(Category)
"""Numbers that say what harm a word tells."""


class Words(NamedTuple):
    """One row or number for each token of a vocabulary, as numpy arrays of float32."""

    harm: Any
    """(vocabulary, HARMS): coefficients of linear models, where a text is a vector of length one: of one that
    tells Unsafe from Safe, and for each of `Encoder.categories` of one that tells it among what is not Safe."""
    rarity: Any
    """(vocabulary,): inverse document frequency, which these models weigh words by."""
    meanings: Any
    """(vocabulary, size): vectors of length one, or zero where a token was not seen."""


def learn(examples: Sequence[Example], texts: Iterable[Sequence[int]], encode: Encoder, size: int) -> Words:
    """What `examples` tell of harm and `texts`, token ids, of meaning.

    Args:
        size: of a meaning.
    """
    harm, rarity = _harm(examples, encode)
    return Words(harm, rarity, _meanings(texts, encode.vocabulary, size))


def _harm(examples: Sequence[Example], encode: Encoder) -> tuple[Any, Any]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, dtype=np.float32)
    found = vectorizer.fit_transform(spelled(example.judged) for example in examples)
    # One model of prompts and answers: on unknown sources it errs less on either than one of each. That answers are
    # more often harmful, or less, is not for words to explain.
    texts = beside(found, [example.kind for example in examples])
    seen = np.array(vectorizer.get_feature_names_out(), dtype=int)
    harm = np.zeros((encode.vocabulary, HARMS), np.float32)

    def fit(column: int, token: int, among: Sequence[bool]) -> None:
        """Which words tell that a reply says `token`, from the examples that are `among`."""
        places = [place for place, one in enumerate(among) if one]
        says = [token in examples[place].reply for place in places]
        if any(says) and not all(says):
            model = LogisticRegression(C=_INVERSE_REGULARIZATION, solver="liblinear", random_state=0)
            harm[seen, column] = model.fit(texts[places], says).coef_[0][: len(seen)]

    safe, _, unsafe = encode.severities
    fit(0, unsafe, [example.reply[1] in (safe, unsafe) for example in examples])
    named = [any(token in encode.categories for token in example.reply) for example in examples]
    for column, token in enumerate(encode.categories, 1):
        fit(column, token, named)
    rarity = np.full(encode.vocabulary, vectorizer.idf_.mean(), np.float32)
    rarity[seen] = vectorizer.idf_
    return harm, rarity


def spelled(ids: Sequence[int]) -> str:
    """Token ids as words that scikit-learn tells apart."""
    return " ".join(map(str, ids))


def beside(features: Any, kinds: Sequence[Kind]) -> Any:
    """`features` with a column more for each kind of turn."""
    import numpy as np
    from scipy.sparse import csr_array, hstack

    of_kind = np.array([[kind == one for one in get_args(Kind)] for kind in kinds], dtype=np.float32)
    return hstack([features, csr_array(of_kind)]).tocsr()


def _meanings(texts: Iterable[Sequence[int]], vocabulary: int, size: int) -> Any:
    import numpy as np
    from scipy.sparse import coo_array, csr_array
    from sklearn.decomposition import TruncatedSVD

    end = vocabulary
    ids = np.concatenate([np.array([*text[:_TOKENS], end], dtype=np.int64) for text in texts])
    together = csr_array((vocabulary, vocabulary), dtype=np.float32)
    for distance in range(1, _NEAR + 1):
        first, second = ids[:-distance], ids[distance:]
        within = (first != end) & (second != end)
        pairs = (first[within], second[within])
        share = np.full(len(pairs[0]), 1 / distance, np.float32)
        together = together + coo_array((share, pairs), shape=together.shape).tocsr()
    together = (together + together.T).tocoo()
    often = together.sum(axis=1) / together.sum()
    smooth = often**_SMOOTHING / (often**_SMOOTHING).sum()
    rows, columns = together.coords
    information = np.log(together.data / together.data.sum() / (often[rows] * smooth[columns]))
    told = information > 0
    matrix = coo_array((information[told], (rows[told], columns[told])), shape=together.shape).tocsr()
    directions = TruncatedSVD(size, n_iter=3, random_state=0)
    vectors = directions.fit_transform(matrix) / np.sqrt(directions.singular_values_)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6).astype(np.float32)
