from typing import Any

from pipelines.chunks import answer_texts, chunks_of, pieces_of, with_role

HEAD = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def again(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    return list(chunks_of([piece for one in chunks for piece in pieces_of(one)], HEAD))


def test_chunks_come_back_as_they_were() -> None:
    chunks = [
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Hi"}),
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}),
        chunk({}, finish_reason="stop"),
        {**HEAD, "choices": [], "usage": {"total_tokens": 3}},
    ]
    assert again(*chunks) == chunks


def test_a_role_that_is_said_in_every_chunk_does_not_divide_the_text() -> None:
    pieces = [piece for _ in range(3) for piece in pieces_of(chunk({"role": "assistant", "content": "a"}))]
    assert [piece.payload for piece in pieces] == [None] * 3
    assert with_role(chunk({"content": "a"}))["choices"][0]["delta"] == {"role": "assistant", "content": "a"}


def test_log_probabilities_follow_their_text() -> None:
    pieces = list(pieces_of(chunk({"content": "Hi"}, logprobs={"content": [{"token": "Hi"}]})))
    assert [piece.text for piece in pieces] == ["Hi", ""]
    assert pieces[1].payload["choices"][0]["logprobs"] == {"content": [{"token": "Hi"}]}


def test_text_under_an_unknown_key_is_text() -> None:
    (piece,) = pieces_of(chunk({"thoughts": [{"text": "a bomb"}]}))
    assert piece.text == "a bomb"
    choice = {
        "message": {"content": "Hi", "thoughts": {"deep": ["a bomb"]}, "tool_calls": [{"function": {"a": "sea"}}]}
    }
    assert answer_texts(choice) == "Hi\na bomb\nsea"


def test_the_choices_of_one_answer_are_kept_apart() -> None:
    (piece,) = pieces_of({**HEAD, "choices": [{"index": 1, "delta": {"content": "a"}}]})
    assert next(chunks_of([piece], HEAD))["choices"][0]["index"] == 1
