"""Sentence vectors for the demo guard's teacher."""

import numpy as np

from training.gen import sentence_vectors

TEXTS = ["Bread is baked.", "Das Brot wird gebacken.", "", "Bread is baked.", "The bank was robbed. " * 50]


def test_each_text_has_a_vector_of_length_one_in_its_place() -> None:
    found = sentence_vectors.vectors(TEXTS, 1)
    assert found.shape == (5, 512)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.array_equal(found[0], found[3])
    assert found[0] @ found[1] > 0.6 > found[0] @ found[4]


def test_other_texts_do_not_change_a_vector() -> None:
    alone = np.concatenate([sentence_vectors.vectors([text], 1) for text in TEXTS])
    assert np.allclose(alone, sentence_vectors.vectors(TEXTS, 2), atol=1e-5)
