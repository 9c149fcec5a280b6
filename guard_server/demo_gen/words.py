"""What words tell before any network is trained: which are harmful and how, which are rare, and which are alike.

Linear models find in seconds what harm each word tells, and on unknown sources they err less than a network that is
left to learn words by itself; least of all where they follow a teacher that knows what sentences mean, not the labels.
Imports neither torch nor transformers; scikit-learn only where words are learnt.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from guard_server.demo_gen import sentences
from guard_server.demo_gen.examples import Encoder, Example
from moderation.verdict import Category, Kind

_INVERSE_REGULARIZATION = 4.0
# Stands for bytes that are no character by themselves.
_BROKEN = "\ufffd"
# Of a ridge regression, and how much louder its shrunken coefficients are planted.
_SHRINKAGE, _LOUDER = 4.0, 2.0

HARMS = 1 + len(Category)
"""Numbers that say what harm a word tells."""


class Words(NamedTuple):
    """One row or number for each token of a vocabulary, as numpy arrays of float32."""

    harm: Any
    """(vocabulary, HARMS): coefficients of linear models, where a text is a vector of length one: of one that
    tells Unsafe from Safe as a teacher does, and for each of `Encoder.categories` of one that tells it among what is
    not Safe."""
    rarity: Any
    """(vocabulary,): inverse document frequency, which these models weigh words by."""
    meanings: Any
    """(vocabulary, size): vectors of length one, or zero where a token is no text by itself."""


def learn(examples: Sequence[Example], odds: Any, encode: Encoder, size: int, processes: int) -> Words:
    """What `examples` tell of harm, and a pretrained encoder of meaning.

    Args:
        odds: log odds of Unsafe that a teacher gives the judged turn of each example, (examples,).
        size: of a meaning.
        processes: that read the tokens.
    """
    harm, rarity = _harm(examples, odds, encode)
    return Words(harm, rarity, _meanings(encode, size, processes))


def _harm(examples: Sequence[Example], odds: Any, encode: Encoder) -> tuple[Any, Any]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

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

    teacher = Ridge(alpha=_SHRINKAGE, solver="sparse_cg", random_state=0).fit(texts, odds)
    harm[seen, 0] = _LOUDER * teacher.coef_[: len(seen)]
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
    """`features`, sparse or not, with a column more for each kind of turn."""
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
    vectors = sentences.vectors([texts[token].strip() for token in known], processes)
    vectors = PCA(size, random_state=0).fit_transform(vectors)
    found = np.zeros((encode.vocabulary, size), np.float32)
    found[known] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found
