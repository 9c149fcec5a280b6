"""Features of words, before the demo guard is trained."""

from typing import Any

import numpy as np
import pytest

from guard_server.catalog import DEMO_TOKENIZER
from moderation.conversation import Turn
from moderation.verdict import Severity
from training.gen import word_statistics
from training.gen.examples import Encoder
from training.gen.training_rows import TrainingRow

ACTS = {Severity.SAFE: ("bake bread", "plant roses", "paint walls"), Severity.UNSAFE: ("rob banks", "steal bikes")}
WAYS = ("How do I {}?", "Tell me how to {}.", "I want to {}.", "Teach me to {}, please.")
SIZE = 64


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(DEMO_TOKENIZER / "tokenizer.json"))


@pytest.fixture(scope="module")
def encode(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer)


def rows() -> list[TrainingRow]:
    found = []
    for severity, acts in ACTS.items():
        for turns in ((Turn("user", way.replace("{}", act)),) for act in acts for way in WAYS):
            answer = Turn("assistant", f"Sure, here is how: {turns[0].text}")
            found.append(TrainingRow(turns, severity, (), None, "a/b", "en"))
            found.append(TrainingRow((*turns, answer), severity, (), False, "a/b", "en"))
    return found


def learn(encode: Encoder) -> word_statistics.Words:
    examples = encode.rows(rows())
    odds = np.array([1.0 if row.severity is Severity.UNSAFE else -1.0 for row in rows()])
    return word_statistics.learn(examples, odds, encode, SIZE, 1)


@pytest.fixture(scope="module")
def known(encode: Encoder) -> word_statistics.Words:
    return learn(encode)


def test_the_harm_of_words_follows_the_teacher(tokenizer: Any, encode: Encoder, known: word_statistics.Words) -> None:
    assert known.harm.shape == (encode.vocabulary, word_statistics.HARMS)
    assert known.rarity.shape == (encode.vocabulary,)
    rob, bake = (tokenizer.encode(word, add_special_tokens=False).ids[-1] for word in ("rob", "bake"))
    assert known.harm[rob, 0] > 0 > known.harm[bake, 0]


def test_words_are_alike_in_any_language(tokenizer: Any, encode: Encoder, known: word_statistics.Words) -> None:
    lengths = np.linalg.norm(known.meanings, axis=1)
    assert known.meanings.shape == (encode.vocabulary, SIZE)
    assert set(lengths.round(3)) == {0.0, 1.0}
    police, polizei, table = (tokenizer.encode(f" {word}").ids[0] for word in ("police", "polizei", "table"))
    assert known.meanings[police] @ known.meanings[polizei] > known.meanings[police] @ known.meanings[table]


def test_words_are_the_same_every_time(encode: Encoder, known: word_statistics.Words) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(known, learn(encode), strict=True))
