import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.answer.holdback import HoldBack
from tests.stands.models.upstream_dialects import DIALECTS, HEAD, chunk
from webui.guarded.answer_reader import AnswerReader
from webui.guarded.chunks import chunks_of
from webui.guarded.whole_answer import WholeAnswer

Chunk = dict[str, Any]
# "ha" and "day " occur twice: a repeated part of a text is no label.
PARTS = st.lists(st.sampled_from(["calm ", "day. ", "ha", "好", "sea", "😊", "day "]), max_size=12)


def joined(deltas: list[Chunk]) -> Chunk:
    """The message that a client builds from deltas."""
    whole: Chunk = {}
    for delta in deltas:
        for key, value in delta.items():
            if key in ("content", "reasoning", "reasoning_content"):
                whole[key] = whole.get(key, "") + (value or "")
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                items = whole.setdefault(key, [{}])
                for name, part in value[0].items():
                    old = items[0].get(name)
                    items[0][name] = (old or "") + part if name in ("text", "thinking") else part or old
            elif isinstance(value, dict):
                inner = [{key: item} for key, item in value.items() if isinstance(item, list)]
                whole[key] = {**value, **joined([{k: v for k, v in whole.get(key, {}).items() if k in value}, *inner])}
            else:
                whole[key] = value
    return whole


@pytest.mark.parametrize("dialect", DIALECTS)
@given(reasoning=PARTS, content=PARTS, cuts=st.lists(st.integers(0, 300), max_size=20), words=st.booleans())
def test_an_answer_is_read_alike_in_any_dialect_and_any_chunks(
    dialect: str, reasoning: list[str], content: list[str], cuts: list[int], words: bool
) -> None:
    """The last reading equals the unstreamed one. Emitted text was cleared, and at the end it is the whole answer."""
    sent = list(DIALECTS[dialect](reasoning, content))
    reader, held, out = AnswerReader(), HoldBack(), list[Chunk]()
    for number, each in enumerate(sent):
        for piece in reader.pieces_of(each):
            held.feed(piece)
        if number < len(cuts):
            reading = held.reading(words=words)
            cleared = min(cuts[number], len(reading.text))
            for part in chunks_of(held.release(reading, cleared, words=words), reader):
                out.append(part)
                for text in texts_of(part):
                    assert text in reading.text[:cleared]
    for piece in reader.pieces_at_end():
        held.feed(piece)
    reading = held.reading(words=False)
    out += chunks_of(held.release(reading, len(reading.text), end=True), reader)
    if dialect == "mistral":
        # Its unstreamed content is a list of parts, which no client builds from a stream.
        texts = ["".join(reasoning), "".join(content)]
        once = [text for text in texts if text and not any(o != text and o.startswith(text) for o in texts)]
        assert reading.text == "\n".join(dict.fromkeys(once))
        return
    shown = joined([choice["delta"] for part in out for choice in part["choices"]])
    assert shown.get("content", "") == "".join(content)
    assert {shown[key] for key in ("reasoning", "reasoning_content") if key in shown} == (
        {"".join(reasoning)} if reasoning else set()
    )
    extras: dict[str, Any] = {key: each[key] for each in sent for key in ("citations", "search_results") if key in each}
    whole: dict[str, Any] = {**HEAD, "choices": [{"message": shown, "finish_reason": "stop"}], **extras}
    assert WholeAnswer(whole).choices[0].text == reading.text


def texts_of(part: Chunk) -> list[str]:
    found = []
    for choice in part["choices"]:
        for key in ("content", "reasoning", "reasoning_content"):
            if isinstance(choice["delta"].get(key), str):
                found.append(choice["delta"][key])
    return found


@given(parts=st.lists(st.sampled_from(["calm ", "day. ", "sea"]), min_size=2, max_size=12), data=st.data())
def test_interleaved_choices_and_calls_are_each_one_text(parts: list[str], data: st.DataObject) -> None:
    kinds = ("content", "call 0", "call 1", "second choice")
    said = dict.fromkeys(kinds, "")
    reader, held = AnswerReader(), HoldBack()
    for part in parts:
        kind = data.draw(st.sampled_from(kinds))
        said[kind] += part
        sent = chunk({"content": part}, number=int(kind == "second choice"))
        if kind.startswith("call"):
            function = {"name": kind[-1], "arguments": part}
            sent = chunk({"tool_calls": [{"index": int(kind[-1]), "function": function}]})
        for piece in reader.pieces_of(sent):
            held.feed(piece)
    texts = [said["content"], *(f"{kind[-1]} {said[kind]}" for kind in kinds[1:3] if said[kind]), said["second choice"]]
    for text in filter(None, texts):
        assert text in held.text
    assert held.text.count("\n") == len([text for text in texts if text]) - 1


def test_labels_repeated_in_every_chunk_are_sent_and_not_judged() -> None:
    reader, held = AnswerReader(), HoldBack()
    for part in ("A calm ", "sea."):
        for piece in reader.pieces_of(chunk({"content": part, "severity": "low", "type": "text"}, safety="none")):
            held.feed(piece)
    assert held.text == "A calm sea."
    reading = held.reading(words=False)
    (sent,) = chunks_of(held.release(reading, len(reading.text)), reader)
    (choice,) = sent["choices"]
    assert choice == {
        "index": 0,
        "delta": {"content": "A calm sea.", "type": "text"},
        "finish_reason": None,
        "safety": "none",
    }
    assert "low" in json.dumps(list(chunks_of(held.release(reading, len(reading.text), end=True), reader)))


@pytest.mark.parametrize(
    ("tokens", "passes"),
    [
        ([{"token": "Hi", "logprob": -1, "bytes": [72], "top_logprobs": [{"token": "Ho", "logprob": -2}]}], True),
        ([{"token": "H"}, {"token": "i"}], True),
        ([{"token": "take the bomb"}], False),
        ([{"token": "Hi", "note": "take the bomb"}], False),
        ([{"token": "Hi", "top_logprobs": [{"token": "take the bomb " * 10}]}], False),
        ([{"token": "Hi", "top_logprobs": [{"token": "x"}] * 50}], False),
        ("take the bomb", False),
    ],
)
def test_log_probabilities_are_sent_if_they_hold_no_other_text(tokens: Any, passes: bool) -> None:
    pieces = list(AnswerReader().pieces_of(chunk({"content": "Hi"}, logprobs={"content": tokens})))
    assert (len(pieces) == 2) is passes


def test_log_probabilities_of_several_chunks_are_joined() -> None:
    reader, held = AnswerReader(), HoldBack()
    for part in ("A calm ", "sea."):
        for piece in reader.pieces_of(chunk({"content": part}, logprobs={"content": [{"token": part}]})):
            held.feed(piece)
    reading = held.reading(words=False)
    (sent,) = chunks_of(held.release(reading, len(reading.text)), reader)
    assert sent["choices"][0]["logprobs"] == {"content": [{"token": "A calm "}, {"token": "sea."}]}
