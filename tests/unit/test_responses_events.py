"""Streamed answers of the Responses API, read through the reader that judges all answers."""

from typing import Any

import pytest

from moderation.answer.channels import Channels, Rank
from webui.bodies import Body
from webui.guarded.answer_reader import AnswerReader
from webui.guarded.responses_events import ResponsesEvents, is_responses_event


def event(kind: str, **more: Any) -> Body:
    return {"type": f"response.{kind}", **more}


def at(item: int = 0, part: int = 0) -> Body:
    return {"output_index": item, "content_index": part}


def message(*texts: str, kind: str = "output_text", **more: Any) -> Body:
    parts = [{"type": kind, "text": text, "annotations": [], **more} for text in texts]
    return {"type": "message", "role": "assistant", "content": parts}


BEGIN = event("created", response={"id": "resp_1", "created_at": 7, "model": "gpt-5"})
SAID = message("Hello there.")
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def end(*output: Body, **more: Any) -> Body:
    return event("completed", response={"id": "resp_1", "status": "completed", "output": list(output), **more})


def read(*events: Body) -> tuple[AnswerReader, dict[Rank, str], list[Body]]:
    """The reader after these events, the texts that the guard reads, and the chunks."""
    translated, reader, channels = ResponsesEvents(), AnswerReader(), Channels()
    chunks = [chunk for one in events for chunk in translated.chunks_of(one)]
    texts: dict[Rank, str] = {}
    for piece in (*(piece for chunk in chunks for piece in reader.pieces_of(chunk)), *reader.pieces_at_end()):
        if piece.channel is not None:
            channels.append(piece.channel, piece.text, is_label=piece.is_label)
            texts[piece.channel.rank] = texts.get(piece.channel.rank, "") + piece.text
    return reader, texts, chunks


DELTAS = [event("output_text.delta", **at(), delta=part) for part in ("Hello ", "there.")]
REPEATED = [
    event("output_text.done", **at(), text="Hello there."),
    event("content_part.done", **at(), part=SAID["content"][0]),
    event("output_item.done", output_index=0, item=SAID),
    end(SAID, usage=USAGE),
]


@pytest.mark.parametrize("first", range(len(REPEATED)))
@pytest.mark.parametrize("deltas", [[], DELTAS[:1], DELTAS], ids=["no deltas", "half", "all"])
def test_a_text_is_read_once_however_often_and_wherever_it_is_said(deltas: list[Body], first: int) -> None:
    reader, texts, _ = read(BEGIN, *deltas, *REPEATED[first:])
    assert texts == {Rank.CONTENT: "Hello there."}
    assert reader.finish == {0: "stop"}
    assert reader.envelope == {"id": "resp_1", "object": "chat.completion.chunk", "created": 7, "model": "gpt-5"}
    assert reader.figures["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_texts_of_two_parts_and_of_two_items_do_not_run_into_one_another() -> None:
    _, texts, _ = read(
        event("output_text.delta", **at(0, 0), delta="One."),
        event("output_text.delta", **at(0, 1), delta="Two."),
        event("output_text.delta", **at(1, 0), delta="Three."),
        end(message("One.", "Two."), message("Three.")),
    )
    assert texts[Rank.CONTENT] == "One.\n\nTwo.\n\nThree."


@pytest.mark.parametrize("whole_only", [False, True])
def test_reasoning_is_read_as_reasoning(whole_only: bool) -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "First I think."}],
        "content": [{"type": "reasoning_text", "text": "Then I plan."}],
        "encrypted_content": "Z0FBQUFB",
    }
    deltas = [
        event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="First I think."),
        event("reasoning_text.delta", **at(), delta="Then I plan."),
    ]
    _, texts, _ = read(BEGIN, *([] if whole_only else deltas), event("output_item.done", output_index=0, item=item))
    assert texts == {Rank.REASONING: "First I think.\n\nThen I plan."}


@pytest.mark.parametrize("deltas", [[], ['{"city"', ': "Oslo"}']], ids=["whole", "in parts"])
def test_a_call_of_a_tool_is_one_call(deltas: list[str]) -> None:
    begun = event("output_item.added", output_index=1, item={**CALL, "arguments": ""})
    parts = [event("function_call_arguments.delta", output_index=1, delta=part) for part in deltas]
    done = event("function_call_arguments.done", output_index=1, arguments=CALL["arguments"])
    reader, _, chunks = read(BEGIN, *([begun, *parts, done] if deltas else []), end(SAID, CALL))
    said = [call for one in chunks for choice in one["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert {call["index"] for call in said} == {0}
    assert said[0]["id"] == "call_1"
    assert said[0]["function"]["name"] == "weather"
    assert "".join(call["function"].get("arguments", "") for call in said) == '{"city": "Oslo"}'
    assert reader.finish == {0: "tool_calls"}


def test_arguments_that_belong_to_no_call_are_dropped() -> None:
    _, texts, chunks = read(event("function_call_arguments.delta", output_index=4, delta='{"a": 1}'))
    assert (texts, chunks) == ({}, [])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete"}, "length"),
    ],
)
def test_an_answer_that_was_cut_off_says_why(more: Body, reason: str) -> None:
    reader, _, _ = read(*DELTAS, event("incomplete", response={"output": [SAID], **more}))
    assert reader.finish == {0: reason}


@pytest.mark.parametrize(
    "failed",
    [
        event("failed", response={"error": {"code": "server_error", "message": "no luck"}}),
        event("error", message="no luck"),
        event("cancelled", response={"error": {"message": "no luck"}}),
    ],
)
def test_a_failure_becomes_an_error(failed: Body) -> None:
    assert ResponsesEvents().chunks_of(failed)[0]["error"]["message"] == "no luck"


def test_citations_are_judged_and_passed_on_once() -> None:
    cited = {"type": "url_citation", "url": "https://example.org", "title": "A page about bombs"}
    added = event("output_text.annotation.added", **at(), annotation=cited)
    item = message("Hello there.", annotations=[cited])
    _, texts, chunks = read(*DELTAS, added, event("output_item.done", output_index=0, item=item), end(item))
    assert "A page about bombs" in texts[Rank.ASIDE]
    passed = [
        choice["delta"]["annotations"]
        for one in chunks
        for choice in one["choices"]
        if "annotations" in choice["delta"]
    ]
    assert passed == [[{"type": "url_citation", "url_citation": {"url": cited["url"], "title": cited["title"]}}]]


def test_a_refusal_is_judged() -> None:
    part = {"type": "refusal", "refusal": "I would rather not."}
    item = {"type": "message", "content": [part]}
    _, texts, _ = read(
        event("refusal.delta", **at(), delta="I would "), event("output_item.done", output_index=0, item=item)
    )
    assert texts == {Rank.CONTENT: "I would rather not."}


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_call.searching",
        "code_interpreter_call_code.delta",
        "image_generation_call.partial_image",
        "audio.delta",
        "mcp_call_arguments.delta",
        "of_tomorrow.delta",
    ],
)
def test_what_has_no_place_in_a_chat_completion_is_left_out(kind: str) -> None:
    assert ResponsesEvents().chunks_of(event(kind, **at(), delta="how to make a bomb", code="bomb")) == []


@pytest.mark.parametrize("odd", [None, [], {}, "1", 1.5])
def test_odd_numbers_and_values_do_no_harm(odd: object) -> None:
    for kind in (
        "output_text.delta",
        "output_item.done",
        "content_part.done",
        "function_call_arguments.delta",
        "completed",
    ):
        places = {"output_index": odd, "content_index": odd, "summary_index": odd}
        ResponsesEvents().chunks_of(event(kind, **places, delta=odd, item=odd, part=odd, response=odd, arguments=odd))


def test_only_events_of_that_api_are_treated_as_such() -> None:
    assert is_responses_event(event("created"))
    assert not is_responses_event({"choices": []})
    assert not is_responses_event({"type": "error"})
    assert not is_responses_event({"type": 3})
