"""The tokens of a growing text, with Qwen's tokenizer and with that of the demo guards."""

import json
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_server import catalog
from guard_server.stream.growing_tokens import LONGEST, MARGIN, GrowingTokens, Token
from guard_server.vllm_plugin.guard_tokenizer import PlainText
from tests.stands.checkpoints.qwen_cuts import like_qwens

DEMO_JSON = (catalog.DEMO_TOKENIZER / "tokenizer.json").read_text(encoding="utf-8")
JSON = like_qwens(DEMO_JSON)
PLAIN, DEMO = PlainText(JSON), PlainText(DEMO_JSON)

# Text that tokenizers split in different ways: words, digits, runs of white space, punctuation, scripts without spaces,
# marks that compose, inner jamo, emoji, and text that looks like a control token.
WORDS = ("hello", "'s", "it'", "7", "42", "a" * 70, "_", "<|im_end|>", "<think>")
SPACES = (" ", "  ", "\n", "\r\n", "\t", "\u200b")
SIGNS = ("!", "...", "(", "，", "½", "👩‍🔬")
SCRIPTS = ("你好", "制作", "é", "e", "\u0301", "\u0323", "ᄒ", "ᅡ", "ᆫ", "한", "नि", "ﬁ", "İ")
PIECES = st.sampled_from((*WORDS, *SPACES, *SIGNS, *SCRIPTS))
TEXTS = st.lists(PIECES, max_size=40).map("".join)


def whole(text: str, plain: PlainText = PLAIN) -> list[Token]:
    tokens = GrowingTokens(plain.encode)
    tokens.feed(text, end=True)
    return tokens.settled


def parts(text: str, cuts: list[int]) -> list[str]:
    borders = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[a:b] for a, b in pairwise(borders)]


@settings(max_examples=400)
@given(st.sampled_from([PLAIN, DEMO]), TEXTS, st.lists(st.integers(0, 10_000), max_size=60))
def test_the_tokens_do_not_depend_on_the_pieces_of_a_text(plain: PlainText, text: str, cuts: list[int]) -> None:
    tokens = GrowingTokens(plain.encode)
    for part in parts(text, cuts):
        tokens.feed(part)
    tokens.feed("", end=True)
    assert tokens.settled == whole(text, plain)
    assert tokens.settled_upto == tokens.length == len(text)


@settings(max_examples=400)
@given(st.sampled_from([PLAIN, DEMO]), TEXTS, st.lists(st.integers(0, 10_000), max_size=60))
def test_settled_tokens_stay_and_come_before_the_others(plain: PlainText, text: str, cuts: list[int]) -> None:
    tokens, final = GrowingTokens(plain.encode), whole(text, plain)
    for part in parts(text, cuts):
        before = list(tokens.settled)
        assert tokens.feed(part) == len(before)
        assert tokens.settled == final[: len(tokens.settled)]
        assert tokens.settled[: len(before)] == before
        rest = final[len(tokens.settled) :]
        assert tokens.settled_upto <= (rest[0].start if rest else len(text))


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["hello", " ", "\n", "'s", "!", "7", "你好", "，", "é", "ok", "(x)", "\n\n", " - "])).map(
        "".join
    )
)
def test_the_tokens_are_those_of_the_tokenizer_itself(text: str) -> None:
    """Segments end only at places where the pre-tokenizer splits in any case."""
    assert [token.id for token in whole(text)] == [token.id for token in PLAIN.encode([text])[0]]


def test_at_most_the_margin_waits() -> None:
    tokens = GrowingTokens(PLAIN.encode)
    run = "".join(random.Random(0).choices("制作炸弹的方法是什么呢", k=300))
    tokens.feed(run)
    assert len(whole(run)) - len(tokens.settled) == MARGIN


def test_a_word_waits_for_its_end_only() -> None:
    tokens = GrowingTokens(PLAIN.encode)
    tokens.feed("The weather is fine today")
    assert tokens.settled_upto == len("The weather is fine")
    tokens.feed(".")
    assert tokens.settled_upto == len("The weather is fine today")


@pytest.mark.parametrize("character", ["a", "一", "\u0301", "ᆫ"])
def test_an_endless_run_is_cut_at_the_same_places_in_any_pieces(character: str) -> None:
    text = "a" + character * (5 * LONGEST)
    tokens = GrowingTokens(PLAIN.encode)
    for part in parts(text, list(range(0, len(text), 700))):
        tokens.feed(part)
    tokens.feed("", end=True)
    assert tokens.settled == whole(text)


def test_a_merge_that_reaches_back_beyond_the_margin_is_undone() -> None:
    # A tokenizer that pairs characters from the end: each new one changes all pairs before it.
    def pairs(texts: Sequence[str]) -> list[list[Token]]:
        def one(text: str) -> list[Token]:
            starts = range(-(len(text) % 2), len(text), 2)
            return [Token(hash(text[max(0, at) : at + 2]), max(0, at), at + 2) for at in starts]

        return [one(text) for text in texts]

    text = "abcdefghijklmnopqrstuvwxyz" * 4
    tokens = GrowingTokens(pairs)
    kept = []
    for character in text:
        before = len(tokens.settled)
        kept.append(tokens.feed(character) == before)
    tokens.feed("", end=True)
    assert not all(kept)
    assert tokens.settled == pairs([text])[0]


def test_text_that_looks_like_a_control_token_is_text() -> None:
    tokens = {token.id for token in PLAIN.encode(["<|im_end|>"])[0]}
    added = {token["content"]: token["id"] for token in json.loads(DEMO_JSON)["added_tokens"]}
    assert len(tokens) > 1
    assert added["<|im_end|>"] not in tokens


def test_hidden_characters_do_not_hide_a_word() -> None:
    plain, hidden = "how to bake bread, they say", "how to ba\u200bke b\u2060read, they s\u200day"
    tags = "".join(chr(0xE0000 + ord(character)) for character in " bread")
    assert [token.id for token in whole(hidden)] == [token.id for token in whole(plain)]
    assert [token.id for token in whole("bake" + tags + ".")] == [token.id for token in whole("bake bread.")]
    assert whole(hidden)[-1].end == len(hidden)


def test_offsets_are_characters_of_the_text_as_it_was_sent() -> None:
    text = "Cafe\u0301 ﬁn 👩‍🔬 İstanbul 你好"
    found = whole(text)
    assert found[0].start == 0
    assert found[-1].end == len(text)
    assert all(a.start <= b.start for a, b in pairwise(found))
