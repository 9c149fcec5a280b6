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
SIZE = 8


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))


def rows() -> list[Row]:
    found = []
    for severity, acts in ACTS.items():
        for turns in ((Turn("user", way.replace("{}", act)),) for act in acts for way in WAYS):
            answer = Turn("assistant", f"Sure, here is how: {turns[0].text}")
            found.append(Row(turns, severity, (), None, "a/b", "en"))
            found.append(Row((*turns, answer), severity, (), False, "a/b", "en"))
    return found


def test_words_tell_harm_and_which_are_alike(tokenizer: Any) -> None:
    encode = Encoder(tokenizer)
    texts = [each.ids for each in tokenizer.encode_batch([row.turns[0].text for row in rows()])]
    known = words.learn(encode.rows(rows()), texts, encode, SIZE)
    assert known.harm.shape == (encode.vocabulary, words.HARMS)
    assert known.rarity.shape == (encode.vocabulary,)
    rob, bake, bread = (tokenizer.encode(word, add_special_tokens=False).ids[-1] for word in ("rob", "bake", "bread"))
    assert known.harm[rob, 0] > 0 > known.harm[bake, 0]
    lengths = np.linalg.norm(known.meanings, axis=1)
    assert known.meanings.shape == (encode.vocabulary, SIZE)
    assert set(lengths.round(3)) == {0.0, 1.0}
    # Alike are words that stand among the same ones.
    assert known.meanings[bake] @ known.meanings[rob] > known.meanings[bake] @ known.meanings[bread]


def test_words_are_the_same_every_time(tokenizer: Any) -> None:
    encode = Encoder(tokenizer)
    texts = [each.ids for each in tokenizer.encode_batch([row.turns[0].text for row in rows()])]
    first, second = (words.learn(encode.rows(rows()), texts, encode, SIZE) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
