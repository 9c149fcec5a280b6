"""The Function filter, as its hooks are called: what goes to the model, what is shown, stored and recorded."""

import asyncio
import gc
import json
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import pytest
from starlette.responses import Response

from functions.answers.shown_events import ShownEvents, StreamTerms
from moderation.answer.channels import Piece
from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, CALM, assistant, user
from tests.stands.filter_hooks import FilterHost, HookedRequest
from tests.stands.functions import closed, load_function
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.upstream_dialects import DIALECTS, HEAD, chunk, spoken
from tests.stands.waiting import PATIENCE, loop_turns, until
from webui.bodies import Body
from webui.guarded.answer_reader import AnswerReader

EN = TEXTS["en"]
REFUSED, WITHHELD, UNCHECKED = EN["prompt_refused"], EN["answer_withheld"], EN["not_checked"]
UNSAFE = "To make it, first take a bomb and then hide it well. "
PROMPT = user("Tell me of the sea.")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
THROUGH = {"qwen3guard_function_models.check": {"id": "qwen3guard_function_models.check"}}
Filter = partial(load_function, "qwen3guard_function_filter")


@pytest.fixture
async def host(guard_url: str, tmp_path: Path) -> AsyncIterator[FilterHost]:
    valves = {"guard_base_url": guard_url, "timeout_seconds": PATIENCE, "audit_path": str(tmp_path / "audit.jsonl")}
    host = FilterHost(Filter(), **valves)
    with host.installed(tmp_path):
        yield host
    await closed(host.function)


@pytest.fixture
def audit(tmp_path: Path) -> Callable[..., list[Body]]:
    """Records so far of one direction."""

    def audit(direction: str = "response") -> list[Body]:
        lines = [line for file in tmp_path.glob("audit-*.jsonl") for line in file.read_text().splitlines()]
        return [record for record in map(json.loads, lines) if record.get("direction") == direction]

    return audit


def said(events: list[Body], key: str = "content") -> str:
    return "".join(choice["delta"].get(key) or "" for event in events for choice in event.get("choices", []))


def finishes(events: list[Body]) -> list[str]:
    return [
        choice["finish_reason"] for event in events for choice in event.get("choices", []) if choice["finish_reason"]
    ]


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def leaks(value: object) -> bool:
    return "bomb" in json.dumps(value)


async def test_a_safe_answer_comes_whole_in_few_events(host: FilterHost, stub: StubGuard) -> None:
    answer = HookedRequest(host)
    sent = await answer.ask(PROMPT, temperature=0.5)
    assert (sent["messages"], sent["temperature"], sent["stream"]) == ([PROMPT], 0.5, True)
    usage = {**HEAD, "choices": [], "usage": USAGE}
    shown = await answer.show([*spoken("plain", CALM * 4), usage], pause=0.002)
    assert said(shown) == CALM * 4
    assert finishes(shown) == ["stop"]
    assert shown[0]["choices"][0]["delta"]["role"] == "assistant"
    assert shown[-1]["usage"] == USAGE
    # One for each check, and those that say something other than text.
    assert len(shown) <= len(stub.requests) + 3


async def test_the_first_words_come_with_their_verdict(host: FilterHost, stub: StubGuard) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    stub.delay = 0.05
    assert await answer.show([chunk({"role": "assistant", "content": ""})]) == []
    assert said(await answer.show([chunk({"content": "It was calm. "})])) == "It was calm. "


@pytest.mark.parametrize("on_page", [True, False], ids=["page", "program"])
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_an_unsafe_answer_is_withheld_in_every_dialect(host: FilterHost, dialect: str, on_page: bool) -> None:
    answer = HookedRequest(host, on_page=on_page)
    await answer.ask(PROMPT)
    shown = await answer.show(spoken(dialect, CALM + UNSAFE + CALM))
    assert not leaks(shown)
    assert WITHHELD in json.dumps(shown[-1])
    assert finishes(shown) == ["content_filter"]


@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_a_safe_answer_is_whole_in_every_dialect(host: FilterHost, dialect: str) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    shown = await answer.show(spoken(dialect, CALM, reasoning="I think of waves. "), pause=0.001)
    assert said([event for event in shown if isinstance(event["choices"][0]["delta"].get("content"), str)]).endswith(
        CALM
    )
    assert "waves" in json.dumps(shown)
    assert finishes(shown) == ["stop"]


async def test_unsafe_reasoning_is_withheld(host: FilterHost) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    shown = await answer.show(spoken("plain", CALM, reasoning=UNSAFE))
    assert not leaks(shown)
    assert said(shown).endswith(WITHHELD)


async def test_a_tool_call_comes_whole_or_not_at_all(host: FilterHost) -> None:
    for words, passes in ((CALM, True), (UNSAFE, False)):
        answer = HookedRequest(host)
        await answer.ask(user(f"Write {words[:6]}"))
        arguments = json.dumps({"text": words})
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "write", "arguments": ""}}
        rest = [{"index": 0, "function": {"arguments": arguments[at : at + 5]}} for at in range(0, len(arguments), 5)]
        shown = await answer.show(
            [*(chunk({"tool_calls": [call]}) for call in (first, *rest)), chunk({}, "tool_calls")]
        )
        calls = [call for event in shown for call in event["choices"][0]["delta"].get("tool_calls", [])]
        assert [call["function"]["arguments"] for call in calls] == ([arguments] if passes else [])
        assert finishes(shown) == (["tool_calls"] if passes else ["content_filter"])
        assert passes or not leaks(shown)


async def test_events_of_the_responses_api_are_held_back_too(host: FilterHost) -> None:
    for words, passes in ((CALM, True), (UNSAFE, False)):
        answer = HookedRequest(host)
        await answer.ask(PROMPT)
        events = [
            {"type": "response.created", "response": {"id": "r1"}},
            *(
                {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": part}
                for part in re.findall(r"\S+\s*", words)
            ),
            {
                "type": "response.completed",
                "response": {"output": [], "status": "completed", "usage": {"input_tokens": 3}},
            },
        ]
        shown = await answer.show(events)
        assert said(shown) == CALM if passes else said(shown).endswith(WITHHELD)
        assert not leaks(shown)
        assert not passes or not [event for event in shown if "type" in event]


@pytest.mark.parametrize(
    "event",
    [
        {"event": {"type": "message", "data": {"content": UNSAFE}}},
        {"type": "strange", "text": UNSAFE},
        {"type": "response.output_text.delta", "delta": UNSAFE},
        {"choices": [], "output": [{"type": "message", "content": [{"type": "output_text", "text": UNSAFE}]}]},
        {"selected_model_id": UNSAFE},
        {"selected_model_id": {"x": UNSAFE}},
        {"sources": [UNSAFE], "more": 1},
        {"choices": "bomb"},
        {"choices": [UNSAFE]},
        {"choices": [{"delta": [UNSAFE]}]},
        {"choices": [{"strange": UNSAFE}]},
        {"done": UNSAFE},
    ],
)
async def test_what_has_no_known_shape_is_dropped(host: FilterHost, event: Body) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    first, *others = spoken("plain", CALM)
    shown = await answer.show([first, event, *others])
    assert not leaks(shown)
    assert said(shown) == CALM


async def test_a_finish_reason_that_is_the_word_null_ends_no_answer(host: FilterHost) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    events = [chunk({"content": part}, "null") for part in re.findall(r"\S+\s*", CALM)]
    shown = await answer.show([*events, chunk({}, "stop")])
    assert (said(shown), finishes(shown)) == (CALM, ["stop"])


async def test_what_open_webui_says_itself_passes(host: FilterHost) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    found = {"source": {"name": "sea.md"}, "document": ["A page about the sea."]}
    answer.metadata["sources"] = [found, {"document": ["Without a name, it is not shown."]}]
    await answer.round({"model": "chat", "stream": True, "messages": [PROMPT]})
    events: list[Body] = [{"selected_model_id": "llama3:8b"}, {"sources": [found]}]
    assert await answer.show(events) == events


async def test_sources_that_a_model_server_sends_are_dropped(host: FilterHost) -> None:
    answer = HookedRequest(host)
    answer.metadata["sources"] = [{"source": {"name": "sea.md"}, "document": ["A page about the sea."]}]
    await answer.ask(PROMPT)
    unsafe: list[Body] = [
        {"sources": [{"document": [UNSAFE]}]},
        {"sources": UNSAFE},
        {"sources": {"document": [UNSAFE]}},
    ]
    shown = await answer.show([*unsafe, *spoken("plain", CALM)])
    assert not leaks(shown)
    assert said(shown) == CALM


async def test_the_words_of_a_failed_model_server_are_judged(
    host: FilterHost, audit: Callable[..., list[Body]]
) -> None:
    for words, passes in (("Rate limit reached", True), (UNSAFE, False)):
        answer = HookedRequest(host)
        await answer.ask(PROMPT)
        shown = await answer.show(
            [chunk({"content": "It "}), {"error": {"message": words}}, chunk({"content": UNSAFE}, "stop")]
        )
        assert (words in shown[-1]["error"]["message"]) == passes
        assert not leaks(shown)
    await until(lambda: len(audit()) == 2)
    assert all(record["problem"].startswith("the upstream failed") for record in audit())


async def test_an_unsafe_prompt_is_refused_and_replaced_in_the_record(
    host: FilterHost, audit: Callable[..., list[Body]]
) -> None:
    answer = HookedRequest(host)
    with pytest.raises(Exception, match=exactly(REFUSED)):
        await answer.ask(user(BOMB))
    assert host.stored == {("c1", "m1"): {"content": EN["turn_removed"], "files": []}}
    await until(lambda: audit("prompt"))
    assert [record["action"] for record in audit("prompt")] == ["refuse"]


async def test_the_record_of_a_prompt_may_be_kept(host: FilterHost) -> None:
    host.valves["rewrite_history"] = False
    with pytest.raises(Exception, match=REFUSED):
        await HookedRequest(host).ask(user(BOMB))
    assert host.stored == {}


async def test_what_open_webui_adds_after_the_inlet_is_judged_and_blamed_on_nobody(host: FilterHost) -> None:
    answer = HookedRequest(host)
    sent = await answer.ask(PROMPT)
    for added in (
        [user(f"{PROMPT['content']} <source>{UNSAFE}</source>")],
        [
            PROMPT,
            assistant("", tool_calls=[{"id": "1", "function": {"name": "read", "arguments": "{}"}}]),
            {"role": "tool", "tool_call_id": "1", "content": UNSAFE},
        ],
    ):
        with pytest.raises(Exception, match=exactly(REFUSED)):
            await answer.round({**sent, "messages": added})
    assert host.stored == {}


async def test_a_prompt_is_recorded_once_however_often_tools_call(
    host: FilterHost, audit: Callable[..., list[Body]]
) -> None:
    answer = HookedRequest(host)
    sent = await answer.ask(PROMPT)
    for _ in range(3):
        await answer.round(sent)
    await answer.show(spoken("plain", CALM))
    await until(lambda: audit())
    assert len(audit("prompt")) == 1


async def test_each_round_of_tools_is_judged_by_itself(host: FilterHost, audit: Callable[..., list[Body]]) -> None:
    answer = HookedRequest(host)
    sent = await answer.ask(PROMPT)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    first = await answer.show([chunk({"tool_calls": [call]}), chunk({}, "tool_calls")])
    assert finishes(first) == ["tool_calls"]
    await answer.round(sent)
    second = await answer.show(spoken("plain", UNSAFE))
    assert not leaks(second)
    assert finishes(second) == ["content_filter"]
    await until(lambda: len(audit()) == 2)
    assert [record["action"] for record in audit()] == ["pass", "refuse"]


async def test_earlier_unsafe_turns_are_replaced_and_the_chat_continues(host: FilterHost) -> None:
    sent = await HookedRequest(host).ask(user(BOMB), assistant(UNSAFE), PROMPT)
    assert not leaks(sent)
    assert sent["messages"][-1] == PROMPT


async def test_a_flag_on_a_fragment_is_confirmed_on_more_text(host: FilterHost, stub: StubGuard) -> None:
    """The stub flags a word that its own continuation makes harmless: no fragment decides alone."""
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    events = [chunk({"content": part}) for part in ("The bom", "b", " is what we call ", "this cake. ")]
    shown = await answer.show(events[:1])
    assert said(shown) == "The "
    stub.delay = 0.02
    shown = await answer.show([*events[1:], chunk({}, "stop")], pause=0.2)
    assert not leaks(shown)
    assert said(shown).endswith(WITHHELD)


async def test_a_page_stops_the_model_after_a_refusal_and_a_program_gets_no_more(host: FilterHost) -> None:
    for on_page in (True, False):
        answer = HookedRequest(host, on_page=on_page)
        await answer.ask(user(f"{PROMPT['content']} {on_page}"))
        # An answer without end, unless it is stopped.
        rest = repeat(chunk({"content": CALM})) if on_page else spoken("plain", CALM * 20)
        shown = await answer.show(chain([chunk({"content": UNSAFE * 9})], rest), pause=0.01)
        assert answer.stopped == on_page
        assert said(shown) == WITHHELD


async def test_what_was_shown_is_taken_back(host: FilterHost) -> None:
    host.valves["stream_mode"] = "retract"
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    shown = await answer.show(spoken("plain", CALM + UNSAFE), pause=0.002)
    assert said(shown[:1]).startswith("It w")
    last = shown[-1]
    assert last["type"] == "response.completed"
    assert [item["content"][0]["text"] for item in last["response"]["output"]] == [WITHHELD]


@pytest.mark.parametrize("version", ["0.11.9", "0.13.0", "dev"])
async def test_an_open_webui_that_takes_nothing_back_is_shown_nothing_unjudged(
    host: FilterHost, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(sys.modules["open_webui.env"], "VERSION", version)
    host.valves["stream_mode"] = "retract"
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    assert not leaks(await answer.show(spoken("plain", CALM + UNSAFE)))


async def test_a_program_is_never_shown_what_was_not_judged(host: FilterHost) -> None:
    host.valves["stream_mode"] = "retract"
    answer = HookedRequest(host, on_page=False)
    await answer.ask(PROMPT)
    assert not leaks(await answer.show(spoken("plain", CALM + UNSAFE)))


async def test_an_answer_without_a_finish_reason_is_completed_at_the_end(host: FilterHost) -> None:
    for words in (CALM, UNSAFE):
        answer = HookedRequest(host, chat=f"c-{words[:2]}")
        await answer.ask(user(f"Go on: {words[:2]}"))
        shown = await answer.show(spoken("plain", CALM + words)[:-1])
        stored = [{"id": "m1", **PROMPT}, {"id": "m2", **assistant(said(shown))}]
        kept = await answer.end(*stored)
        assert kept["messages"] == []
        changes = host.stored[f"c-{words[:2]}", "m2"]
        assert changes["content"] == (CALM + words if words == CALM else changes["content"])
        assert not leaks(changes)
        output = answer.emitted[-1]["data"]["output"]
        assert output == changes["output"]
        assert (WITHHELD in json.dumps(output)) == (words == UNSAFE)


async def test_an_answer_that_came_in_one_piece_is_replaced_on_the_page_and_in_the_record(host: FilterHost) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    output = [{"type": "message", "id": "o1", "content": [{"type": "output_text", "text": UNSAFE}]}]
    kept = await answer.end({"id": "m1", **PROMPT}, {"id": "m2", **assistant(UNSAFE, output=output, sources=[UNSAFE])})
    assert kept["messages"] == []
    assert not leaks((list(host.stored.values()), answer.emitted))
    assert host.stored["c1", "m2"]["content"] == WITHHELD
    assert host.stored["c1", "m2"]["sources"] == []
    assert answer.emitted[-1] == {
        "type": "chat:completion",
        "data": {"done": True, "output": host.stored["c1", "m2"]["output"]},
    }


async def test_a_chat_that_may_stay_is_left_to_the_host(host: FilterHost) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    await answer.show(spoken("plain", CALM))
    messages = [{"id": "m1", **PROMPT}, {"id": "m2", **assistant(CALM)}]
    assert (await answer.end(*messages))["messages"] == messages
    assert (host.stored, answer.emitted) == ({}, [])


async def test_a_stored_answer_costs_no_further_check(host: FilterHost, stub: StubGuard) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    await answer.show(spoken("plain", CALM))
    asked = len(stub.requests)
    await answer.end({"id": "m1", **PROMPT}, {"id": "m2", **assistant(CALM)})
    assert len(stub.requests) == asked


async def test_the_page_always_streams(host: FilterHost) -> None:
    assert (await HookedRequest(host).ask(PROMPT, stream=False))["stream"] is True


async def test_an_answer_that_is_not_streamed_goes_through_guarded_models_or_is_refused(
    host: FilterHost, audit: Callable[..., list[Body]]
) -> None:
    program = partial(HookedRequest, host, on_page=False)
    with pytest.raises(Exception, match='"stream": true'):
        await program().ask(PROMPT, stream=False)
    await until(lambda: audit("prompt"))
    assert "not streamed" in audit("prompt")[0]["problem"]
    host.models |= THROUGH
    sent = await program().ask(PROMPT, stream=False)
    assert (sent["model"], sent["stream"]) == ("qwen3guard_function_models.check", False)
    host.valves["unstreamed"] = "refuse"
    with pytest.raises(Exception, match='"stream": true'):
        await program().ask(PROMPT, stream=False)
    host.valves["mode"] = "monitor"
    assert (await program().ask(PROMPT, stream=False))["model"] == "chat"


async def test_several_answers_at_a_time_are_refused(host: FilterHost) -> None:
    with pytest.raises(Exception, match="several answers"):
        await HookedRequest(host, on_page=False).ask(PROMPT, n=2)


async def test_a_program_gets_no_whole_answer_in_place_of_a_stream(
    host: FilterHost, audit: Callable[..., list[Body]]
) -> None:
    answer = HookedRequest(host, on_page=False)
    await answer.ask(PROMPT)
    with pytest.raises(asyncio.CancelledError):
        await answer.end(PROMPT, assistant(UNSAFE))
    await until(lambda: audit())
    assert "did not stream" in audit()[0]["problem"]


class TestGuardedModels:
    """The filter next to the guarded models' function."""

    @pytest.fixture(autouse=True)
    def names_stay(self, host: FilterHost) -> None:
        host.models |= THROUGH
        host.valves["answers"] = "models"

    async def test_every_request_goes_through_one_hidden_entry_and_keeps_its_model(self, host: FilterHost) -> None:
        answer = HookedRequest(host)
        for _ in range(2):
            sent = await answer.ask(PROMPT)
            assert sent["model"] == "qwen3guard_function_models.check"
            routes = answer.request.state.qwen3guard_routes
            assert routes == {"m2": {"model": "chat", "answered": False}}
            await answer.round(sent)
            assert routes == {"m2": {"model": "chat", "answered": False}}

    async def test_nothing_is_shown_of_an_answer_that_they_did_not_make(
        self, host: FilterHost, audit: Callable[..., list[Body]]
    ) -> None:
        answer = HookedRequest(host, on_page=False)
        await answer.ask(PROMPT)
        shown = await answer.show(spoken("plain", CALM))
        assert (said(shown), finishes(shown)) == (UNCHECKED, ["content_filter"])
        await until(lambda: audit())
        assert "another filter" in audit()[0]["problem"]

    async def test_the_model_that_an_arena_picked_is_named_before_they_answer(self, host: FilterHost) -> None:
        answer = HookedRequest(host, on_page=False)
        await answer.ask(PROMPT)
        named = {"selected_model_id": "chat"}
        assert await answer.show([named]) == [named]
        assert said(await answer.show([{"selected_model_id": CALM}])) == UNCHECKED

    async def test_what_they_made_passes_as_it_is(self, host: FilterHost, stub: StubGuard) -> None:
        answer = HookedRequest(host)
        await answer.ask(PROMPT)
        answer.request.state.qwen3guard_routes["m2"]["answered"] = True
        asked = len(stub.requests)
        assert await answer.show(spoken("plain", CALM)) == spoken("plain", CALM)
        assert len(stub.requests) == asked

    async def test_a_guarded_model_is_sent_nowhere_else(self, host: FilterHost) -> None:
        for model in (
            {"id": "qwen3guard_function_models.chat"},
            {"id": "mine", "info": {"base_model_id": "qwen3guard_function_models.chat"}},
        ):
            answer = HookedRequest(host, model=model)
            assert (await answer.ask(PROMPT))["model"] == model["id"]
            assert said(await answer.show(spoken("plain", CALM))) == UNCHECKED

    async def test_a_preset_with_such_a_name_counts_as_what_its_base_is(self, host: FilterHost) -> None:
        model = {"id": "qwen3guard_function_models.mine", "info": {"base_model_id": "chat"}}
        assert (await HookedRequest(host, model=model).ask(PROMPT))["model"] == "qwen3guard_function_models.check"

    async def test_an_unsafe_prompt_is_refused_before_any_feature_runs(self, host: FilterHost) -> None:
        with pytest.raises(Exception, match=REFUSED):
            await HookedRequest(host).ask(user(BOMB))


@pytest.mark.parametrize("trouble", ["down", "nonsense", "failing"])
async def test_without_a_verdict_prompt_and_answer_are_withheld(
    host: FilterHost, stub: StubGuard, audit: Callable[..., list[Body]], trouble: str
) -> None:
    def provoke() -> None:
        if trouble == "nonsense":
            stub.nonsense = "The weather is fine."
        stub.status = 500 if trouble == "failing" else 200

    if trouble == "down":
        host.valves["guard_base_url"] = "http://127.0.0.1:9/v1"
    provoke()
    with pytest.raises(Exception, match=exactly(UNCHECKED)):
        await HookedRequest(host).ask(PROMPT)
    assert host.stored == {}
    await until(lambda: audit("prompt"))
    assert (audit("prompt")[0]["action"], bool(audit("prompt")[0]["problem"])) == ("withhold", True)


async def test_an_answer_without_a_verdict_is_withheld(
    host: FilterHost, stub: StubGuard, audit: Callable[..., list[Body]]
) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    stub.nonsense = "The weather is fine."
    shown = await answer.show(spoken("plain", CALM))
    assert (said(shown), finishes(shown)) == (UNCHECKED, ["content_filter"])
    await until(lambda: audit())
    assert audit()[0]["action"] == "withhold"


async def test_an_error_of_ours_withholds_the_answer(
    host: FilterHost, audit: Callable[..., list[Body]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = HookedRequest(host, on_page=False)
    await answer.ask(PROMPT)
    stream = answer.request.state.qwen3guard_answers[""].stream
    monkeypatch.setattr(stream, "_progress", None)
    shown = await answer.show(spoken("plain", CALM))
    assert said(shown) == UNCHECKED


async def test_an_answer_whose_request_nobody_saw_is_withheld(host: FilterHost) -> None:
    answer = HookedRequest(host)
    shown = await answer.show(spoken("plain", CALM))
    assert (said(shown), finishes(shown)) == (UNCHECKED, ["content_filter"])


async def test_nobody_judges_exempt_users(host: FilterHost, stub: StubGuard, audit: Callable[..., list[Body]]) -> None:
    host.valves["exempt_roles"] = "user"
    answer = HookedRequest(host)
    await answer.ask(user(BOMB))
    events = spoken("plain", UNSAFE)
    assert await answer.show(events) == events
    assert stub.judged == []
    await until(lambda: audit("prompt"))
    assert [record["action"] for record in audit("prompt")] == ["exempt"]


async def test_monitoring_shows_everything_and_records_it(host: FilterHost, audit: Callable[..., list[Body]]) -> None:
    host.valves["mode"] = "monitor"
    answer = HookedRequest(host)
    await answer.ask(user(BOMB))
    assert said(await answer.show(spoken("plain", UNSAFE))) == UNSAFE
    await until(lambda: audit())
    assert [(record["action"], record["flagged"]) for record in audit()] == [("pass", "refuse")]


async def test_several_answers_to_one_request_are_kept_apart(host: FilterHost) -> None:
    first = HookedRequest(host, message="a1")
    second = HookedRequest(host, message="a2", beside=first)
    await asyncio.gather(first.ask(PROMPT), second.ask(PROMPT))
    safe, unsafe = await asyncio.gather(first.show(spoken("plain", CALM)), second.show(spoken("plain", UNSAFE)))
    assert said(safe) == CALM
    assert said(unsafe).endswith(WITHHELD)


async def test_many_answers_at_a_time_get_nothing_of_each_other(host: FilterHost, stub: StubGuard) -> None:
    stub.delay = 0.02

    async def one(number: int) -> str:
        answer = HookedRequest(host, chat=f"c{number}", message=f"m{number}")
        await answer.ask(user(f"Tell me of mark{number}."))
        return said(await answer.show(spoken("plain", f"Here is mark{number} by the sea. " * 5), pause=0.002))

    answers = await asyncio.gather(*map(one, range(64)))
    assert answers == [f"Here is mark{number} by the sea. " * 5 for number in range(64)]


async def test_a_reader_who_leaves_is_recorded_and_leaves_no_check(
    host: FilterHost, stub: StubGuard, audit: Callable[..., list[Body]]
) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    stub.silent_about = "calm"
    reading = asyncio.create_task(answer.show(spoken("plain", CALM)))
    await until(lambda: len(stub.requests) > 1)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await until(lambda: audit())
    assert "left" in audit()[0]["problem"]
    stub.silent_about = None


async def test_new_settings_hold_for_the_next_answer_and_not_for_one_that_has_begun(host: FilterHost) -> None:
    begun = HookedRequest(host)
    await begun.ask(PROMPT)
    host.valves["mode"] = "monitor"
    after = HookedRequest(host, chat="c2", message="m3")
    await after.ask(user(BOMB))
    assert said(await after.show(spoken("plain", UNSAFE))) == UNSAFE
    assert said(await begun.show(spoken("plain", UNSAFE))).endswith(WITHHELD)


async def test_valves_that_say_the_same_make_no_new_service(host: FilterHost, stub: StubGuard) -> None:
    for _ in range(3):
        await HookedRequest(host).ask(PROMPT)
    assert len(stub.judged) == 1


async def test_an_open_webui_without_our_names_still_withholds(guard_url: str, tmp_path: Path) -> None:
    """What a version lacks costs the change of the record, not the refusal."""
    audit_path = str(tmp_path / "audit.jsonl")
    host = FilterHost(Filter(), guard_base_url=guard_url, timeout_seconds=PATIENCE, audit_path=audit_path)
    answer = HookedRequest(host)
    with pytest.raises(Exception, match=REFUSED):
        await answer.ask(user(BOMB))
    await answer.ask(PROMPT)
    shown = await answer.show(spoken("plain", CALM + UNSAFE))
    assert not leaks(shown)
    kept = await answer.end({"id": "m1", **PROMPT}, {"id": "m2", **assistant(UNSAFE)})
    assert not leaks(kept)
    await closed(host.function)


async def test_an_event_costs_microseconds_while_nothing_is_due(host: FilterHost, stub: StubGuard) -> None:
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    events = spoken("plain", CALM * 60, size=8)
    await answer.show(events[:3])
    stream = answer.request.state.qwen3guard_answers["m2"].stream
    gc.collect()
    started = time.process_time()
    for event in events[3:-1]:
        await stream.pass_on(event)
    each = (time.process_time() - started) / len(events)
    # Measured: 12 us with the checks that fall due meanwhile; a slow machine takes several times that.
    assert each < 0.0005


async def test_other_tasks_run_while_many_events_are_read(host: FilterHost, stub: StubGuard) -> None:
    """Of a server with fields of its own, each event is walked. This many wait for a check, and are read at once."""
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    await answer.show([chunk({"content": "It was calm. "})])
    stub.silent_about, asked = "sea", len(stub.requests)
    stream = answer.request.state.qwen3guard_answers["m2"].stream
    event = chunk({"content": "by the sea ", "walk": {f"step {step}": {"seen": "A calm day. "} for step in range(20)}})
    sent = 256
    async with asyncio.timeout(PATIENCE):
        while len(stub.requests) == asked:
            assert await stream.pass_on(event) == {}
            await asyncio.sleep(0.02)
            sent += 1
    async with loop_turns() as turns:
        assert not any([await stream.pass_on(event) for _ in range(256)])
        assert turns() >= 10
    stub.silent_about = None
    last = await stream.pass_on(chunk({}, "stop"))
    assert said([last]) == "by the sea " * sent


async def test_other_tasks_run_while_a_large_event_is_put_together() -> None:
    released = [Piece(payload={"choice": 0, "extras": {"token": number}}) for number in range(1000)]
    async with loop_turns() as turns:
        event = await ShownEvents(AnswerReader(), StreamTerms([])).of(released)
        assert turns() >= 5
    assert event["choices"][0]["token"] == 999


async def test_checks_do_not_fill_open_webuis_log(host: FilterHost, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).info("HTTP Request: POST %s/chat/completions", "http://another.example")
    await HookedRequest(host).ask(PROMPT)
    guard = str(host.valves["guard_base_url"])
    assert not [record for record in caplog.records if guard in record.getMessage()]
    assert len([record for record in caplog.records if "another.example" in record.getMessage()]) == 2
    logging.getLogger("httpx").warning("%s failed", guard)
    assert "failed" in caplog.text


async def test_a_temporary_chat_is_left_to_its_page(host: FilterHost) -> None:
    answer = HookedRequest(host, chat="temporary:s1")
    await answer.ask(PROMPT)
    kept = await answer.end({"id": "m1", **PROMPT}, {"id": "m2", **assistant(UNSAFE)})
    assert host.stored == {}
    assert [message["content"] for message in kept["messages"]] == [PROMPT["content"], WITHHELD]
    assert WITHHELD in json.dumps(answer.emitted)


async def test_pictures_in_an_answer_are_withheld_if_the_admin_wants_that(
    host: FilterHost, audit: Callable[..., list[Body]]
) -> None:
    picture = chunk({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]})
    events = [chunk({"content": "Here it is. "}), picture, chunk({}, "stop")]
    answer = HookedRequest(host)
    await answer.ask(PROMPT)
    assert "AAAA" in json.dumps(await answer.show(events))
    host.valves["images"] = "withhold"
    answer = HookedRequest(host, message="m3")
    await answer.ask(PROMPT)
    shown = await answer.show(events)
    assert "AAAA" not in json.dumps(shown)
    assert UNCHECKED in json.dumps(shown)
    await until(lambda: len(audit()) == 2)
    assert audit()[-1]["unjudged"] == ["image"]


async def test_an_answer_to_a_chat_with_unjudged_old_turns_says_so(
    host: FilterHost, stub: StubGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = stub._reply

    def reply(body: Body) -> Response:
        stub.nonsense = "The weather is fine." if body["messages"][-1]["content"].startswith("Old") else None
        return judged(body)

    monkeypatch.setattr(stub, "_reply", reply)
    answer = HookedRequest(host)
    sent = await answer.ask(user("Old times?"), assistant("They were calm."), PROMPT)
    assert EN["turn_unchecked"] in json.dumps(sent)
    assert said(await answer.show(spoken("plain", CALM))) == f"[{EN['some_unchecked']}]\n\n{CALM}"
    await answer.round(sent)
    assert said(await answer.show(spoken("plain", CALM))) == CALM
