from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.answer.channels import Piece
from tests.stands.models.upstream_dialects import DIALECTS, HEAD, chunk
from webui.guarded.answer_reader import AnswerReader
from webui.guarded.usual_chunk import usual_chunk

Chunk = dict[str, Any]
WORDS = ["calm ", "day", "", "好", "😊", "data:image/png;base64,iVBORw0KGgo", "a" * 80, "\ud83d"]
DELTAS: list[Chunk] = [
    *({key: word} for key in ("content", "reasoning", "refusal", "text", "name", "id", "thoughts") for word in WORDS),
    *({"role": "assistant", "content": word} for word in WORDS),
    *({"reasoning": word, "reasoning_content": word} for word in WORDS),
    {"content": "a", "reasoning_content": "b"},
    {"content": None},
    {"content": ["a"]},
    {"role": None, "content": "a"},
    {},
]
CHOICES: list[Chunk] = [
    {},
    {"stop_reason": None},
    {"content_filter_results": {"hate": "safe"}},
    {"logprobs": {"content": [{"token": "calm ", "logprob": -0.1}]}},
    {"finish_reason": "stop"},
    {"message": {"content": "calm day"}},
]
BESIDE: list[Chunk] = [{}, {"id": "c2"}, {"usage": {"prompt_tokens": 1}}, {"usage": None}, {"citations": ["a b c"]}]
CHUNKS = st.builds(
    lambda delta, choice, extras, number: {
        **HEAD,
        **extras,
        "choices": [{**chunk(delta)["choices"][0], **choice, "index": number}],
    },
    st.sampled_from(DELTAS),
    st.sampled_from(CHOICES),
    st.sampled_from(BESIDE),
    st.sampled_from([0, 1, True, 0.0, None]),
)


def taken_apart(chunks: list[Chunk]) -> list[list[Piece]]:
    reader = AnswerReader()
    return [list(reader.pieces_of(each)) for each in chunks]


def with_something_nested(each: Chunk) -> Chunk:
    """Not usual, and the field next to the choices is dropped."""
    return {**each, "unknown": [{}]}


@given(st.lists(st.tuples(CHUNKS, st.integers(1, 3)), max_size=6))
def test_a_usual_chunk_is_read_like_any_other(repeated: list[tuple[Chunk, int]]) -> None:
    chunks = [each for each, times in repeated for _ in range(times)]
    assert taken_apart(chunks) == taken_apart(list(map(with_something_nested, chunks)))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_are_read_alike_with_and_without_the_usual_chunk(dialect: str) -> None:
    chunks = list(DIALECTS[dialect](["It ", "is ", "calm. "] * 3, ["A ", "day ", "by ", "the ", "sea."] * 3))
    assert taken_apart(chunks) == taken_apart(list(map(with_something_nested, chunks)))


def test_only_continuations_in_the_same_shape_are_usual_chunks() -> None:
    first, second = chunk({"content": "It "}), chunk({"content": "is"})
    usual = usual_chunk(first, taken_apart([first])[0])
    assert usual is not None
    assert usual.pieces_of(second) == taken_apart([first, second])[1]
    others: list[dict[str, Any]] = [
        chunk({"content": ""}),
        chunk({"content": "is"}, "stop"),
        chunk({"reasoning": "is"}),
        {"choices": []},
    ]
    for other in others:
        assert usual.pieces_of(other) is None
