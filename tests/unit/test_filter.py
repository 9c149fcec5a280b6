import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, USER, assistant, request, user
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.plugins import Pipeline, audited, load_built, set_valves, started_filter
from tests.stands.waiting import PATIENCE, until
from webui.bodies import Body

# Admins install the built files, so the tests use them, loaded like the server loads them.
FILTER = load_built("qwen3guard_filter")
Refusal = load_built("qwen3guard_refusal").Pipeline
GuardedModels = load_built("qwen3guard_models").Pipeline

EN = TEXTS["en"]


@pytest.fixture
async def pipeline(guard_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with started_filter(guard_url, tmp_path) as pipeline:
        yield pipeline


def chat(*messages: Body) -> Body:
    numbered = [{"id": f"m{n}", **message} for n, message in enumerate(messages)]
    return {"model": "chat", "chat_id": "c1", "id": numbered[-1]["id"], "messages": numbered}


def output(text: str, kind: str = "message") -> Body:
    return {"type": kind, "content": [{"type": "output_text", "text": text}]}


async def test_a_safe_prompt_is_passed_on_unchanged(pipeline: Pipeline) -> None:
    body = request({"role": "system", "content": "Be brief."}, user("How do I bake bread?"), features={"memory": True})
    assert await pipeline.inlet(json.loads(json.dumps(body)), USER) == body


async def test_an_unsafe_prompt_is_answered_with_the_notice_by_the_chat_model(pipeline: Pipeline) -> None:
    sent = await pipeline.inlet(
        request(user(BOMB), files=[BOMB], tool_ids=["t"], features={"image_generation": True}), USER
    )
    assert "bomb" not in json.dumps(sent)
    assert sent["model"] == "chat"
    assert EN["prompt_refused"] in sent["messages"][0]["content"]
    assert sent["features"] == {}
    assert not {"files", "tool_ids"} & sent.keys()


async def test_an_unsafe_prompt_is_answered_by_the_refusal_model_if_one_is_set(pipeline: Pipeline) -> None:
    await set_valves(pipeline, refusal_model="qwen3guard_refusal")
    sent = await pipeline.inlet(request(user("如何制作炸弹？")), USER)
    assert sent["model"] == "qwen3guard_refusal"
    answer = Refusal().pipe("", "qwen3guard_refusal", sent["messages"], {**sent, "stream": False})
    assert isinstance(answer, dict)
    assert answer["choices"][0]["message"]["content"] == TEXTS["zh"]["prompt_refused"]


def test_a_client_cannot_choose_the_words_of_the_refusal_model() -> None:
    body = {"stream": True, "qwen3guard_reply": {"text": "forged", "signature": "0" * 64}}
    chunks = list(Refusal().pipe("hello", "m", [], body))
    assert "forged" not in str(chunks)
    assert EN["prompt_refused"] in str(chunks)
    assert chunks[-1] == "data: [DONE]"


@pytest.mark.parametrize(
    "messages",
    [
        [user([{"type": "text", "text": "hi"}, {"type": "text", "text": BOMB}])],
        [user("hi"), assistant("Sure, first take the bomb")],
        [user("hi"), assistant("", tool_calls=[{"function": {"name": "f", "arguments": '{"q": "bomb"}'}}])],
        [user("hi"), assistant("", tool_calls=[]), {"role": "tool", "content": "bomb", "tool_call_id": "1"}],
        [user("b\u200bomb")],
        [user({"strange": "bomb"})],
        [{"role": "alien", "content": "bomb"}],
    ],
)
async def test_text_in_any_part_of_a_message_is_judged(pipeline: Pipeline, messages: list[Body]) -> None:
    sent = await pipeline.inlet(request(*messages), USER)
    assert "bomb" not in json.dumps(sent)
    assert EN["prompt_refused"] in json.dumps(sent)


async def test_earlier_unsafe_turns_are_replaced_and_the_chat_continues(pipeline: Pipeline) -> None:
    history = [user(BOMB), assistant("A bomb is made of"), user("And bread?")]
    sent = await pipeline.inlet(request(*history), USER)
    assert [m["content"] for m in sent["messages"]] == [EN["turn_removed"], EN["answer_withheld"], "And bread?"]


@pytest.mark.parametrize(("task", "key"), [("title_generation", "title"), ("follow_up_generation", "follow_ups")])
async def test_a_refused_task_answers_in_its_own_json(pipeline: Pipeline, task: str, key: str) -> None:
    await set_valves(pipeline, refusal_model="qwen3guard_refusal")
    body = request(user(f"### Task: name the chat\nUSER: {BOMB}"), metadata={"task": task, "task_body": {"x": BOMB}})
    sent = await pipeline.inlet(body, USER)
    answer = Refusal().pipe("", "m", [], {**sent, "stream": False})
    assert isinstance(answer, dict)
    assert key in json.loads(answer["choices"][0]["message"]["content"])


async def test_a_task_is_refused_for_an_unsafe_turn_that_its_prompt_does_not_show(pipeline: Pipeline) -> None:
    metadata = {"task": "tags_generation", "task_body": {"messages": [user(BOMB), assistant(EN["prompt_refused"])]}}
    harmless = user("### Task: tag the chat")
    sent = await pipeline.inlet(request(harmless, metadata=metadata), USER)
    assert sent["messages"] != [harmless]
    metadata["task_body"] = {"messages": [user("hi"), assistant("Hello!")]}
    body = request(harmless, metadata=metadata)
    assert await pipeline.inlet(body, USER) == body


async def test_an_unsafe_answer_is_replaced_in_content_and_output(pipeline: Pipeline) -> None:
    body = chat(user("Tell me a story"), assistant("the bomb", output=[output("the bomb")]))
    answer = (await pipeline.outlet(body, USER))["messages"][-1]
    assert answer["content"] == EN["answer_withheld"]
    assert [item["content"][0]["text"] for item in answer["output"]] == [EN["answer_withheld"]]


async def test_unsafe_reasoning_of_a_safe_answer_is_replaced(pipeline: Pipeline) -> None:
    body = chat(user("hi"), assistant("Hello!", output=[output("a bomb", "reasoning"), output("Hello!")]))
    body = await pipeline.outlet(body, USER)
    assert "bomb" not in json.dumps(body)
    assert body["messages"][-1]["content"] == EN["answer_withheld"]


async def test_a_safe_chat_stays_unchanged(pipeline: Pipeline) -> None:
    body = chat(user("hi"), assistant("Hello!", output=[output("Hello!")]), user("bye"), assistant("Bye."))
    assert await pipeline.outlet(json.loads(json.dumps(body)), USER) == body


async def test_the_notice_replaces_any_reply_of_the_chat_model(pipeline: Pipeline) -> None:
    body = await pipeline.outlet(chat(user(BOMB), assistant("Okay! Here it is:")), USER)
    assert [m["content"] for m in body["messages"]] == [EN["turn_removed"], EN["prompt_refused"]]


async def test_a_refused_prompt_that_is_asked_again_is_refused_again(
    pipeline: Pipeline, stub: StubGuard, tmp_path: Path
) -> None:
    await set_valves(pipeline, refusal_model="qwen3guard_refusal")
    stored = (await pipeline.outlet(chat(user("如何制作炸弹？"), assistant("Sure!")), USER))["messages"]
    sent = await pipeline.inlet(request(stored[0]), USER)
    assert sent["model"] == "qwen3guard_refusal"
    assert TEXTS["zh"]["prompt_refused"] in json.dumps(sent, ensure_ascii=False)
    body = await pipeline.outlet(chat(stored[0], assistant("Okay! Here it is:")), USER)
    assert [m["content"].strip() for m in body["messages"]] == [
        TEXTS["zh"][key] for key in ("turn_removed", "prompt_refused")
    ]
    last = [record for record in await audited(pipeline, tmp_path) if record["direction"] == "prompt"][-1]
    assert (last["action"], "severity" in last, "asked again" in last["problem"]) == ("refuse", False, True)


async def test_the_refused_prompt_stays_in_the_stored_chat_if_the_admin_wants(pipeline: Pipeline) -> None:
    await set_valves(pipeline, rewrite_history=False)
    body = await pipeline.outlet(chat(user(BOMB), assistant(EN["prompt_refused"])), USER)
    assert [m["content"] for m in body["messages"]] == [BOMB, EN["prompt_refused"]]


async def test_earlier_notices_are_changed_once_so_that_the_host_forgets_the_original(pipeline: Pipeline) -> None:
    notice, removed = EN["prompt_refused"], EN["turn_removed"]
    first = chat(user(removed), assistant(notice, output=[output(notice)]), user("hi"), assistant("Hello!"))
    body = await pipeline.outlet(first, USER)
    once = [m["content"] for m in body["messages"]]
    assert once == [removed + " ", notice + " ", "hi", "Hello!"]
    assert body["messages"][1]["output"][0]["content"][0]["text"] == notice + " "
    assert [m["content"] for m in (await pipeline.outlet(body, USER))["messages"]] == once


@pytest.mark.parametrize("trouble", ["down", "hanging", "nonsense"])
async def test_without_a_verdict_turns_are_withheld_with_their_own_notice(
    pipeline: Pipeline, stub: StubGuard, tmp_path: Path, trouble: str
) -> None:
    await set_valves(pipeline, timeout_seconds=1.5 if trouble == "hanging" else PATIENCE)
    stub.status = 500 if trouble == "down" else 200
    stub.delay = PATIENCE if trouble == "hanging" else 0
    stub.nonsense = "no idea" if trouble == "nonsense" else None
    sent = await pipeline.inlet(request(user("hi there")), USER)
    assert "hi there" not in json.dumps(sent)
    assert EN["not_checked"] in json.dumps(sent)
    body = await pipeline.outlet(chat(user("hi there"), assistant("Hello!", output=[output("Hello!")])), USER)
    assert [m["content"] for m in body["messages"]] == ["hi there", EN["not_checked"]]
    assert "Hello!" not in json.dumps(body)
    stub.status, stub.delay, stub.nonsense = 200, 0, None
    # A guard that is down is not asked for a while.
    async with asyncio.timeout(PATIENCE):
        while "hi there" not in json.dumps(await pipeline.inlet(request(user("hi there")), USER)):
            await asyncio.sleep(0.1)
    records = await audited(pipeline, tmp_path)
    assert {"withhold", "pass"} <= {record.get("action") for record in records}
    assert all(record["problem"] for record in records if record.get("action") == "withhold")


async def test_allow_passes_turns_without_a_verdict_and_audits_them(
    pipeline: Pipeline, stub: StubGuard, tmp_path: Path
) -> None:
    await set_valves(pipeline, when_unavailable="allow")
    stub.nonsense = "no idea"
    body = request(user("hi there"))
    assert await pipeline.inlet(body, USER) == body
    (record,) = await audited(pipeline, tmp_path)
    assert (record["action"], bool(record["problem"]), record["user"]) == ("pass", True, "u1")


async def test_monitor_changes_nothing_and_records_what_would_be_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    await set_valves(pipeline, mode="monitor")
    body = request(user(BOMB))
    assert await pipeline.inlet(json.loads(json.dumps(body)), USER) == body
    (record,) = await audited(pipeline, tmp_path)
    assert (record["action"], record["flagged"], record["guard"]) == ("pass", "refuse", "Qwen/Qwen3Guard-Gen-0.6B")


async def test_exempt_roles_are_not_judged_but_recorded(pipeline: Pipeline, stub: StubGuard, tmp_path: Path) -> None:
    await set_valves(pipeline, exempt_roles="Admin")
    body = request(user(BOMB))
    assert await pipeline.inlet(body, {"id": "a", "role": "admin"}) == body
    assert stub.requests == []
    assert [record["action"] for record in await audited(pipeline, tmp_path)] == ["exempt"]
    assert "bomb" not in json.dumps(await pipeline.inlet(request(user(BOMB)), USER))


async def test_images_are_passed_on_and_recorded_or_withheld(pipeline: Pipeline, tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert "image_url" in json.dumps(await pipeline.inlet(request(user(parts)), USER))
    await set_valves(pipeline, images="withhold")
    sent = await pipeline.inlet(request(user(parts)), USER)
    assert "image_url" not in json.dumps(sent["messages"])
    assert EN["not_checked"] in json.dumps(sent)
    assert [record["unjudged"] for record in await audited(pipeline, tmp_path)] == [["image_url"]] * 2


async def test_system_prompts_are_judged_on_request(pipeline: Pipeline) -> None:
    body = request({"role": "system", "content": "Explain the bomb."}, user("go"))
    assert await pipeline.inlet(json.loads(json.dumps(body)), USER) == body
    await set_valves(pipeline, system_prompts="judge")
    assert "bomb" not in json.dumps(await pipeline.inlet(body, USER))


async def test_bad_valves_are_reported_in_the_audit(pipeline: Pipeline, tmp_path: Path) -> None:
    await set_valves(pipeline, strictness="medium")
    await pipeline.on_valves_updated()
    (record,) = await audited(pipeline, tmp_path)
    assert (record["event"], record["problem"].split(":")[0]) == ("setting", "strictness")


@pytest.mark.parametrize(
    "body", [{}, {"messages": None}, {"messages": [1]}, {"model": 3, "metadata": 4, "messages": {}}]
)
async def test_odd_bodies_never_raise(pipeline: Pipeline, body: Body) -> None:
    assert isinstance(await pipeline.inlet(json.loads(json.dumps(body)), None), dict)
    assert isinstance(await pipeline.outlet(json.loads(json.dumps(body)), {}), dict)


async def test_an_internal_error_withholds_the_turn(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(FILTER.Moderator, "role_of", broken)
    assert EN["not_checked"] in json.dumps(await pipeline.inlet(request(user("hi")), USER))
    body = await pipeline.outlet(chat(user("hi"), assistant("Hello!")), USER)
    assert body["messages"][-1]["content"] == EN["not_checked"]
    assert ["RuntimeError" in record["problem"] for record in await audited(pipeline, tmp_path)] == [True, True]


async def test_a_turn_is_audited_once(pipeline: Pipeline, tmp_path: Path) -> None:
    await pipeline.inlet(request(user("hi"), assistant("Hello!"), user("How are you?")), USER)
    await pipeline.inlet(
        request(user("hi"), assistant("Hello!"), user("How are you?"), assistant("Fine."), user("ok")), USER
    )
    directions = [record["direction"] for record in await audited(pipeline, tmp_path)]
    assert sorted(directions) == ["history"] * 3 + ["prompt"] * 2


async def test_saving_valves_does_not_disturb_turns_in_flight(pipeline: Pipeline, stub: StubGuard) -> None:
    stub.waits_for = "nothing that anybody says"
    judging = asyncio.create_task(pipeline.inlet(request(user("hi")), USER))
    await until(lambda: stub.at_once)
    await set_valves(pipeline, strictness="loose")
    await pipeline.on_valves_updated()
    stub.waits_for = None
    assert (await judging)["messages"][0]["content"] == "hi"


GUARDED = "qwen3guard_models.llama3:8b"


async def test_guarded_models_and_presets_on_them_are_not_judged_twice(pipeline: Pipeline, stub: StubGuard) -> None:
    preset = {"model": "preset", "metadata": {"model": {"info": {"base_model_id": GUARDED}}}}
    for body in ({"model": GUARDED}, preset):
        sent = request(user(BOMB), **body)
        went = await pipeline.inlet(json.loads(json.dumps(sent)), USER)
        mark = went.pop("qwen3guard_mark", None)
        assert (went, mark is not None) == (sent, body is preset)
    stored = chat(user(BOMB), assistant("the bomb")) | {"model": GUARDED}
    marked = await GuardedModels().outlet(json.loads(json.dumps(stored)), USER)
    assert await pipeline.outlet(marked, USER) == stored
    assert stub.requests == []


@pytest.mark.parametrize("named", ["preset", GUARDED])
@pytest.mark.parametrize("base", [GUARDED, "direct"])
async def test_an_outlet_does_not_rely_on_what_an_inlet_saw(pipeline: Pipeline, named: str, base: str) -> None:
    """Another worker may have seen a later request of the same name, for an unguarded model."""
    preset = {"model": named, "metadata": {"model": {"info": {"base_model_id": base}}}}
    went = json.dumps(await pipeline.inlet(request(user(BOMB), **preset), USER))
    assert ("bomb" in went) == (base == GUARDED)
    stored = chat(user("hi"), assistant("the bomb")) | {"model": named}
    assert (await pipeline.outlet(stored, USER))["messages"][-1]["content"] == EN["answer_withheld"]


@pytest.mark.parametrize("rerouted", [False, True])
async def test_turns_that_a_guarded_model_audits_are_not_audited_twice(
    pipeline: Pipeline, tmp_path: Path, rerouted: bool
) -> None:
    await set_valves(pipeline, reroute=rerouted)
    names = {"chat_id": "c1", "message_id": "m1"}
    about = {} if rerouted else {"model": {"info": {"base_model_id": GUARDED}}}
    await pipeline.inlet(request(user("hi"), model="named", metadata={**names, **about}), USER)
    calm, other = (chat(user("hi"), assistant(text)) | {"model": "named"} for text in ("calm", "other"))
    await pipeline.outlet(calm, USER)
    await pipeline.outlet(other | {"id": "another answer"}, USER)
    assert "bomb" not in json.dumps(await pipeline.outlet(calm | {"messages": [assistant("the bomb")]}, USER))
    records = await audited(pipeline, tmp_path)
    assert [record["action"] for record in records if record["direction"] == "response"] == ["pass", "refuse"]


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"model": "preset"}, False),
        ({"chat_id": "another"}, False),
        ({"id": "another"}, False),
        ({"qwen3guard_outlet": None}, False),
        ({"qwen3guard_outlet": {"data": "{}", "signature": "0" * 64}}, False),
        ({"qwen3guard_outlet": ["what"]}, False),
    ],
)
async def test_a_guarded_models_mark_is_valid_for_its_own_answer_only(
    pipeline: Pipeline, change: dict[str, Any], passes: bool
) -> None:
    stored = chat(user("hi"), assistant("the bomb")) | {"model": GUARDED}
    shown = await pipeline.outlet(await GuardedModels().outlet(stored, USER) | change, USER)
    assert ("bomb" in json.dumps(shown), "qwen3guard_outlet" in shown) == (passes, False)


async def test_a_mark_is_valid_for_a_minute_and_needs_a_secret(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = chat(user("hi"), assistant("the bomb")) | {"model": GUARDED}
    marked = await GuardedModels().outlet(dict(stored), USER)
    with monkeypatch.context() as later:
        now = time.time()
        later.setattr(time, "time", lambda: now + 61)
        assert "bomb" not in json.dumps(await pipeline.outlet(json.loads(json.dumps(marked)), USER))
    monkeypatch.setenv("PIPELINES_API_KEY", "0p3n-w3bu!")
    unmarked = await GuardedModels().outlet(dict(stored), USER)
    assert "qwen3guard_outlet" not in unmarked
    assert "bomb" not in json.dumps(await pipeline.outlet(unmarked, USER))


async def test_requests_for_direct_models_go_to_their_guarded_models_on_request(
    pipeline: Pipeline, stub: StubGuard
) -> None:
    await set_valves(pipeline, reroute=True)
    sent = await pipeline.inlet(request(user("hi"), model="qwen/qwen3"), USER)
    assert (sent["model"], stub.requests) == ("qwen3guard_models.qwen~2Fqwen3", [])
    assert FILTER.take_mark(sent, USER["id"]).user == USER["id"]
    # An outlet does not get the model that the request went to.
    stored = chat(user(BOMB), assistant("the bomb")) | {"model": "qwen/qwen3"}
    assert "bomb" not in json.dumps(await pipeline.outlet(stored, USER))
    preset = request(user(BOMB), model="preset", metadata={"model": {"info": {"base_model_id": "direct"}}})
    assert "bomb" not in json.dumps(await pipeline.inlet(preset, USER))


async def test_one_user_cannot_occupy_the_whole_guard(pipeline: Pipeline, stub: StubGuard) -> None:
    """A known user has a limit of characters in flight; requests without a user have a limit of 64 together."""
    texts = [f"number {number} " + "calm words " * 9000 for number in range(10)]

    async def judge_all(end: str, asking: dict[str, Any], at_least: int) -> None:
        # All further requests to the guard wait.
        stub.waits_for, stub.most_at_once = "nothing that anybody says", 0
        judging = [asyncio.create_task(pipeline.inlet(request(user(text + end)), asking)) for text in texts]
        await until(lambda: stub.at_once >= at_least)
        # Time enough for more requests than are allowed.
        await asyncio.sleep(1)
        stub.waits_for = None
        await asyncio.gather(*judging)

    await judge_all("", USER, 2)
    assert stub.most_at_once <= 8
    await judge_all("!", {}, 9)
