"""What words tell before the demo guard is trained."""

from typing import Any

import numpy as np
import pytest

from guard_server.catalog import DEMO_FOLDER
from guard_server.demo_gen import words
from guard_server.demo_gen.examples import Encoder
from guard_server.demo_gen.rows import Row
from moderation.conversation import Turn
from moderation.verdict import Severity

ACTS = {Severity.SAFE: ("bake bread", "plant roses", "paint walls"), Severity.UNSAFE: ("rob banks", "steal bikes")}
WAYS = ("How do I {}?", "Tell me how to {}.", "I want to {}.", "Teach me to {}, please.")
SIZE = 64


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def encode(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer)


def rows() -> list[Row]:
    found = []
    for severity, acts in ACTS.items():
        for turns in ((Turn("user", way.replace("{}", act)),) for act in acts for way in WAYS):
            answer = Turn("assistant", f"Sure, here is how: {turns[0].text}")
            found.append(Row(turns, severity, (), None, "a/b", "en"))
            found.append(Row((*turns, answer), severity, (), False, "a/b", "en"))
    return found


def learn(encode: Encoder) -> words.Words:
    examples = encode.rows(rows())
    odds = np.array([1.0 if row.severity is Severity.UNSAFE else -1.0 for row in rows()])
    return words.learn(examples, odds, encode, SIZE, 1)


@pytest.fixture(scope="module")
def known(encode: Encoder) -> words.Words:
    return learn(encode)


def test_words_tell_harm_as_the_teacher_does(tokenizer: Any, encode: Encoder, known: words.Words) -> None:
    assert known.harm.shape == (encode.vocabulary, words.HARMS)
    assert known.rarity.shape == (encode.vocabulary,)
    rob, bake = (tokenizer.encode(word, add_special_tokens=False).ids[-1] for word in ("rob", "bake"))
    assert known.harm[rob, 0] > 0 > known.harm[bake, 0]


def test_words_are_alike_in_any_language(tokenizer: Any, encode: Encoder, known: words.Words) -> None:
    lengths = np.linalg.norm(known.meanings, axis=1)
    assert known.meanings.shape == (encode.vocabulary, SIZE)
    assert set(lengths.round(3)) == {0.0, 1.0}
    police, polizei, table = (tokenizer.encode(f" {word}").ids[0] for word in ("police", "polizei", "table"))
    assert known.meanings[police] @ known.meanings[polizei] > known.meanings[police] @ known.meanings[table]


def test_words_are_the_same_every_time(encode: Encoder, known: words.Words) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(known, learn(encode), strict=True))
