import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.answer.holdback import HoldBack
from tests.stands.models.upstream_dialects import DIALECTS, HEAD, chunk
from webui.guarded.answer_reader import AnswerReader, AnswerUnreadable
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
        ([{"token": "Hi", "bytes": "take the bomb"}], False),
        ([{"token": "Hi", "logprob": "take the bomb"}], False),
        ([{"token": "Hi"}, "take the bomb"], False),
        ([{"token": "Hi", "top_logprobs": ["take the bomb"]}], False),
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


def read_streamed(sent: list[Chunk]) -> tuple[str, list[Chunk], list[str]]:
    """What the guard reads of an answer, the chunks that say it again, and the kinds of what nobody can judge."""
    reader, held = AnswerReader(), HoldBack()
    for each in sent:
        for piece in reader.pieces_of(each):
            held.feed(piece)
    for piece in reader.pieces_at_end():
        held.feed(piece)
    reading = held.reading(words=False)
    out = list(chunks_of(held.release(reading, len(reading.text), end=True), reader))
    return reading.text, out, [*reader.media, *held.media]


def read_whole(sent: Chunk) -> tuple[str, Chunk]:
    answer = WholeAnswer(sent)
    return "\n".join(choice.text for choice in answer.choices), answer.completion([one.body for one in answer.choices])


def whole(message: Chunk, **choice: Any) -> Chunk:
    return {**HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}


# Longer than a token may be.
HIDDEN = "take the bomb " * 6
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOKEN = {"token": "Hi", "logprob": -1, "bytes": [72, 105]}
RICH: Chunk = {
    "content": [{"type": "text", "text": "Hi", "index": 0}],
    "tool_calls": [CALL, {"id": "d", "type": "custom", "custom": {"name": "g", "input": "x"}}],
    "function_call": {"name": "f", "arguments": "{}"},
    "annotations": [{"type": "url_citation", "url_citation": {"title": "A", "url": "https://a.example"}}],
    "audio": {"id": "a", "transcript": "Hi", "data": "aB3/" * 20},
    "images": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}],
    "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "signature": "aB3/" * 40, "index": 0}],
}
AROUND: Chunk = {
    "usage": {"prompt_tokens": 1, "details": {"cached": 0}},
    "search_results": [{"title": "A", "url": "x"}],
}


def with_words_anywhere(value: Any) -> Iterator[Any]:
    """The value with words in place of each of its parts, and next to each."""
    for words in (HIDDEN, [HIDDEN], {HIDDEN: None}, {HIDDEN: 1}, {"type": "image_url", "image_url": {"url": HIDDEN}}):
        yield words
        if isinstance(value, dict):
            yield {**value, "more": words}
        if isinstance(value, list):
            yield [*value, words]
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: changed} for changed in with_words_anywhere(inner))
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in with_words_anywhere(inner))


def test_no_words_are_sent_that_were_not_judged_wherever_a_server_puts_them() -> None:
    probabilities = {"content": [{**TOKEN, "top_logprobs": [{**TOKEN, "token": "Ho"}]}], "refusal": None}
    streamed = {**chunk(RICH, content_filter_results={"hate": {"severity": "safe"}}), **AROUND}
    likely = chunk({"content": "Hi"}, logprobs=probabilities)
    replies = (
        whole(RICH) | AROUND,
        whole({"content": "Hi"}, logprobs=probabilities),
        whole(RICH, delta={"content": "Hi"}),
    )
    seen = []
    for sent in [*with_words_anywhere(streamed), *with_words_anywhere(likely)]:
        if isinstance(sent, dict):
            judged, out, _ = read_streamed([sent, chunk({}, "stop")])
            seen.append((sent, judged, json.dumps(out)))
    for reply in replies:
        for sent in with_words_anywhere(reply):
            if isinstance(sent, dict):
                judged, completion = read_whole(sent)
                seen.append((sent, judged, json.dumps(completion)))
    assert [sent for sent, judged, out in seen if "bomb" in out and "bomb" not in judged] == []
    # Not because nothing was sent.
    assert sum("bomb" in out for _, _, out in seen) > 300


TEXT = "There are 42 calm days."


@pytest.mark.parametrize(
    "sent",
    [
        [chunk({"content": "There are "}), chunk({"content": 42}), chunk({"content": " calm days."})],
        [chunk({"reasoning": "There are "}), chunk({"reasoning": 42}), chunk({"reasoning": " calm days."})],
        [{**HEAD, "choices": [{"index": 0, "text": "There are 42 "}]}, {**HEAD, "choices": [{"text": "calm days."}]}],
        [{**HEAD, "choices": [{"index": 0, "delta": TEXT}]}],
        [{**HEAD, "choices": [{"index": 0, "message": TEXT}]}],
        [chunk({"content": "There are 42 "}, "null"), chunk({"content": "calm days."}, "None")],
        [{**HEAD, "choices": [None, {"index": "0", "delta": {"content": TEXT}}]}],
        # A server that has said its thoughts in deltas, and says its answer whole.
        [chunk({"thoughts": "-"}), {**HEAD, "choices": [{"delta": {"thoughts": ""}, "message": {"content": TEXT}}]}],
    ],
)
def test_text_in_an_odd_place_is_judged_and_sent(sent: list[Chunk]) -> None:
    judged, out, _ = read_streamed([*sent, chunk({}, "stop")])
    deltas = [choice["delta"] for part in out for choice in part["choices"]]
    said = "".join(delta.get("content", "") + delta.get("reasoning", "") for delta in deltas)
    assert (judged.removeprefix("-\n"), said) == (TEXT, TEXT)
    assert [choice["finish_reason"] for part in out for choice in part["choices"]][-1] == "stop"


@pytest.mark.parametrize(
    ("sent", "right"),
    [
        ({"message": {"content": 42}}, {"content": "42"}),
        ({"message": "A sea.", "delta": {"content": "Fine."}}, {"content": "A sea."}),
        ({"text": "A sea."}, {"content": "A sea."}),
        ({"message": {"content": None, "tool_calls": CALL}}, {"content": None, "tool_calls": [CALL]}),
        (
            {"message": {"tool_calls": [{"id": "c", "type": "function", "name": "f", "arguments": {}}]}},
            {"tool_calls": [CALL]},
        ),
        (
            {"message": {"content": None, "function_call": {"name": "f", "arguments": {"q": 1}}}},
            {"content": None, "function_call": {"name": "f", "arguments": '{"q": 1}'}},
        ),
    ],
)
def test_an_unstreamed_answer_is_sent_as_it_was_judged(sent: Chunk, right: Chunk) -> None:
    _, reply = read_whole({**HEAD, "choices": [{"index": 0, **sent}]})
    message = reply["choices"][0]["message"]
    for call in message.get("tool_calls", []):
        # Only pieces of a stream have one.
        assert "index" not in call
        call["index"] = 0
    assert message == {**right, "role": "assistant"}


@pytest.mark.parametrize(
    "later",
    [
        {"index": 0, "id": "", "type": "", "function": {"name": "", "arguments": '": 1}'}},
        {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": '": 1}'}},
        {"index": 0, "arguments": '": 1}'},
        {"id": "c", "name": "f", "arguments": '": 1}'},
        {"index": 0, "id": "other", "type": "function", "function": {"name": "f", "arguments": '": 1}'}},
    ],
)
def test_a_later_piece_in_another_shape_takes_nothing_from_a_call(later: Chunk) -> None:
    first = {**CALL, "function": {"name": "f", "arguments": '{"q'}}
    _, out, _ = read_streamed([chunk({"tool_calls": [first]}), chunk({"tool_calls": [later]}), chunk({}, "stop")])
    assert out[0]["choices"][0]["delta"]["tool_calls"] == [{**CALL, "function": {"name": "f", "arguments": '{"q": 1}'}}]


def test_calls_are_told_apart_by_an_index_that_is_text() -> None:
    begun = [{**CALL, "index": n, "id": f"c{n}", "function": {"name": n, "arguments": "{"}} for n in ("0", "1")]
    ended = [{"index": n, "function": {"arguments": "}"}} for n in ("1", "0")]
    sent = [chunk({"tool_calls": begun}), *(chunk({"tool_calls": [each]}) for each in ended)]
    assert read_streamed(sent)[0] == "0 {}\n1 {}"


@pytest.mark.parametrize(
    "place",
    [
        lambda picture: chunk({"content": "Hi"}, thumbnail=picture),
        lambda picture: {**chunk({"content": "Hi"}), "search_results": [{"thumbnail": picture}]},
        lambda picture: {**chunk({"content": "Hi"}), "usage": {"thumbnail": picture}},
        lambda picture: chunk({"tool_calls": [{**CALL, "thumbnail": picture}]}),
    ],
)
def test_a_picture_where_none_belongs_is_not_sent(place: Callable[[str], Chunk]) -> None:
    picture = "data:image/png;base64," + "aB3/" * 40
    _, out, media = read_streamed([place(picture), chunk({}, "stop")])
    assert (picture in json.dumps(out), media) == (False, [])
    sent = place(picture)
    message = sent["choices"][0].pop("delta")
    assert picture not in json.dumps(read_whole({**sent, "choices": [{**sent["choices"][0], "message": message}]})[1])


@pytest.mark.parametrize(
    "place",
    [
        lambda deep: chunk({"content": "Hi"}, more=deep),
        lambda deep: chunk({"content": "Hi"}, logprobs=deep),
        lambda deep: chunk({"annotations": [deep]}),
        lambda deep: chunk({"tool_calls": [{**CALL, "more": deep}]}),
        lambda deep: {**chunk({"content": "Hi"}), "usage": deep},
    ],
)
def test_an_answer_that_is_nested_too_deeply_is_unreadable(place: Callable[[Any], Chunk]) -> None:
    deep: Any = 1
    for _ in range(600):
        deep = {"a": [deep]}
    for read in (lambda sent: read_streamed([sent, sent]), read_whole):
        with pytest.raises(AnswerUnreadable, match="nested too deeply"):
            read(place(deep))
