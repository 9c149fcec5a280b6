"""Features of words before any network is trained: harm by category, rarity, and meaning.

Linear models find the harm of each word in seconds, and make fewer errors on unknown sources than a network that learns
words by itself; the fewest if they are trained on a teacher that knows the meaning of sentences, not on the labels.
Imports neither torch nor transformers; scikit-learn only for training.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from moderation.verdict import Category, Kind
from training.gen import sentence_vectors
from training.gen.examples import Encoder, Example

_INVERSE_REGULARIZATION = 4.0
# The decoder's replacement for bytes that are no complete character.
_BROKEN = "\ufffd"
# Of a ridge regression, and the factor by which its shrunken coefficients are enlarged.
_SHRINKAGE, _LOUDER = 4.0, 2.0

HARMS = 1 + len(Category)
"""Number of harm coefficients of a word: one for Unsafe and one per category."""


class Words(NamedTuple):
    """One row or number per token of a vocabulary, as numpy arrays of float32."""

    harm: Any
    """(vocabulary, HARMS): coefficients of linear models over texts as vectors of length one. The first model follows
    a teacher's log odds of Unsafe; the others, one for each of `Encoder.categories`, predict that category among turns
    that are not Safe."""
    rarity: Any
    """(vocabulary,): inverse document frequency, the weight of words in these models."""
    meanings: Any
    """(vocabulary, size): vectors of length one; zero for a token that is no complete text."""


def learn(examples: Sequence[Example], odds: Any, encode: Encoder, size: int, processes: int) -> Words:
    """Learn harm and rarity from `examples`; meaning comes from a pretrained encoder.

    Args:
        odds: (examples,): a teacher's log odds of Unsafe for the judged turn of each example.
        size: dimensions of a meaning.
        processes: number of processes that encode the tokens.
    """
    harm, rarity = _harm(examples, odds, encode)
    return Words(harm, rarity, _meanings(encode, size, processes))


def _harm(examples: Sequence[Example], odds: Any, encode: Encoder) -> tuple[Any, Any]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    vectorizer = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, dtype=np.float32)
    found = vectorizer.fit_transform(spelled(example.judged) for example in examples)
    # One model for prompts and answers: on unknown sources it makes fewer errors on both than two separate models. The
    # column for the kind of turn takes the difference in how often they are harmful, so that the words do not.
    texts = with_kinds(found, [example.kind for example in examples])
    seen = np.array(vectorizer.get_feature_names_out(), dtype=int)
    harm = np.zeros((encode.vocabulary, HARMS), np.float32)

    def fit(column: int, token: int, among: Sequence[bool]) -> None:
        """Learn which words predict that a reply has `token`, from the examples for which `among` is true."""
        places = [place for place, one in enumerate(among) if one]
        says = [token in examples[place].reply for place in places]
        if any(says) and not all(says):
            model = LogisticRegression(C=_INVERSE_REGULARIZATION, solver="liblinear", random_state=0)
            harm[seen, column] = model.fit(texts[places], says).coef_[0][: len(seen)]

    teacher = Ridge(alpha=_SHRINKAGE, solver="sparse_cg", random_state=0).fit(texts, odds)
    harm[seen, 0] = _LOUDER * teacher.coef_[: len(seen)]
    named = [any(token in encode.categories for token in example.reply) for example in examples]
    for column, token in enumerate(encode.categories, 1):
        fit(column, token, named)
    rarity = np.full(encode.vocabulary, vectorizer.idf_.mean(), np.float32)
    rarity[seen] = vectorizer.idf_
    return harm, rarity


def spelled(ids: Sequence[int]) -> str:
    """Token ids as a text of words, for scikit-learn's vectorizer."""
    return " ".join(map(str, ids))


def with_kinds(features: Any, kinds: Sequence[Kind]) -> Any:
    """`features`, sparse or not, with one more column per kind of turn."""
    import numpy as np
    from scipy.sparse import csr_array, hstack

    of_kind = np.array([[kind == one for one in get_args(Kind)] for kind in kinds], dtype=np.float32)
    if isinstance(features, np.ndarray):
        return np.hstack([features, of_kind])
    return hstack([features, csr_array(of_kind)]).tocsr()


def _meanings(encode: Encoder, size: int, processes: int) -> Any:
    import numpy as np
    from sklearn.decomposition import PCA

    texts = encode.spelling
    known = [token for token, text in enumerate(texts) if text.strip() and _BROKEN not in text]
    vectors = sentence_vectors.vectors([texts[token].strip() for token in known], processes)
    vectors = PCA(size, random_state=0).fit_transform(vectors)
    found = np.zeros((encode.vocabulary, size), np.float32)
    found[known] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found
