import asyncio
import gc
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, CALM, USER, request, user
from tests.stands.guarded_models import Streamed, complete, pipe, stream
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import USAGE, StubModel
from tests.stands.plugins import Pipeline, audited, load_built, set_valves
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE, until
from webui.bodies import Body

MODELS = load_built("qwen3guard_models")
EN = TEXTS["en"]
# At a hundredth of a second per chunk it takes longer than any test waits, so an upstream that ended was closed.
ENDLESS = CALM * 300
# Number of verdicts before any text is shown: that of the prompt, and those of checks, each after the one before.
SHOWN = 6


async def test_a_safe_answer_arrives_whole_in_few_frames(pipeline: Pipeline, model: StubModel, stub: StubGuard) -> None:
    model.says(CALM * 4)
    model.delay = 0.005
    answer = await stream(pipeline, request(stream_options={"include_usage": True}))
    assert answer.said() == CALM * 4
    assert answer.deltas[0]["role"] == "assistant"
    assert answer.finish == ["stop"]
    assert answer.chunks[-1]["usage"] == USAGE
    # One for each check, of which there are about two in a second.
    assert len(answer.deltas) <= len(stub.requests) + 2


async def test_a_safe_unstreamed_answer_is_unchanged(pipeline: Pipeline) -> None:
    reply = await complete(pipeline)
    assert reply["choices"][0]["message"]["content"] == "Hello there, my friend."
    assert (reply["choices"][0]["finish_reason"], reply["usage"]) == ("stop", USAGE)


async def test_models_are_listed_under_ids_that_are_safe_in_a_path_and_find_their_model(
    pipeline: Pipeline, model: StubModel
) -> None:
    assert pipeline.pipelines() == [
        {"id": "llama3:8b", "name": "llama3:8b (guarded)"},
        {"id": "qwen~2Fqwen3", "name": "qwen/qwen3 (guarded)"},
    ]
    await stream(pipeline, entry="qwen~2Fqwen3")
    assert model.requests[-1]["model"] == "qwen/qwen3"


async def test_parameters_are_passed_on_unchanged_and_the_user_is_left_out(
    pipeline: Pipeline, model: StubModel
) -> None:
    parameters: dict[str, Any] = {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "stop": ["x"],
        "seed": 7,
        "logit_bias": {"1": 2},
        "reasoning_effort": "low",
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "my_own": {"a": [1]},
    }
    image = {
        "role": "user",
        "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": ""}}],
    }
    await stream(pipeline, request(image, **parameters))
    assert model.requests[-1] == {**parameters, "model": "llama3:8b", "stream": True, "messages": [image]}
    assert model.keys == ["Bearer sk-secret"]


@pytest.mark.parametrize("check", ["parallel", "before"])
async def test_a_refused_prompt_is_answered_by_the_notice(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, check: str
) -> None:
    await set_valves(pipeline, prompt_check=check)
    stub.silent_about = BOMB
    model.says(ENDLESS)
    model.delay = 0.01
    answering = asyncio.create_task(stream(pipeline, request(user(BOMB))))
    await until(lambda: BOMB in stub.judged and (check == "before" or model.requests))
    stub.silent_about = None
    answer = await answering
    assert (answer.said(), answer.finish) == (EN["prompt_refused"], ["content_filter"])
    assert len(model.requests) == (1 if check == "parallel" else 0)
    await until(lambda: model.streaming == 0)
    reply = await complete(pipeline, user(BOMB))
    assert reply["choices"][0]["message"]["content"] == EN["prompt_refused"]
    assert reply["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    "messages",
    [
        [user([{"type": "text", "text": BOMB}])],
        [user("hi"), {"role": "assistant", "content": "Sure, first take the bomb"}],
        [user("hi"), {"role": "assistant", "content": "", "tool_calls": []}, {"role": "tool", "content": "a bomb"}],
        [user("hi"), {"role": "system", "content": "Explain the bomb."}],
    ],
)
async def test_everything_that_the_model_will_read_is_judged(pipeline: Pipeline, messages: list[Body]) -> None:
    assert (await stream(pipeline, request(*messages))).said().strip() == EN["prompt_refused"]


async def test_a_prompt_with_a_cached_refusal_is_not_sent_again(pipeline: Pipeline, model: StubModel) -> None:
    for _ in range(2):
        assert (await stream(pipeline, request(user(BOMB)))).said() == EN["prompt_refused"]
    metadata = {"task": "follow_up_generation", "task_body": {"messages": [user(BOMB)]}}
    marked = await pipeline.inlet(request(user("Suggest questions."), stream=False, metadata=metadata), USER)
    reply = await asyncio.to_thread(pipe, pipeline, marked)
    assert json.loads(reply["choices"][0]["message"]["content"]) == {"follow_ups": []}
    # The model may get it once, since the first request is sent while the prompt is judged.
    assert len(model.requests) <= 1


async def test_earlier_unsafe_turns_are_removed_and_the_call_is_repeated(pipeline: Pipeline, model: StubModel) -> None:
    history = [user(BOMB), {"role": "assistant", "content": "A bomb is made of"}, user("And bread?")]
    clean = [EN["turn_removed"], EN["answer_withheld"], "And bread?"]
    assert (await stream(pipeline, request(*history))).said() == "Hello there, my friend."
    assert [message["content"] for message in model.requests[-1]["messages"]] == clean
    model.requests.clear()
    await stream(pipeline, request(*history))
    assert [[message["content"] for message in body["messages"]] for body in model.requests] == [clean]


async def test_a_turn_that_was_removed_is_refused_again(pipeline: Pipeline) -> None:
    assert (await stream(pipeline, request(user(EN["turn_removed"])))).said() == EN["prompt_refused"]


async def test_an_unsafe_answer_is_never_shown_and_its_upstream_ends(pipeline: Pipeline, model: StubModel) -> None:
    model.says(CALM + "Then build the bomb so. " + ENDLESS)
    model.delay = 0.01
    answer = await stream(pipeline)
    assert "bomb" not in answer.raw
    assert answer.finish == ["content_filter"]
    assert answer.said().endswith(EN["answer_withheld"])
    await until(lambda: model.streaming == 0)


async def shown_then_refused(pipeline: Pipeline, model: StubModel) -> Streamed:
    """An answer that turns unsafe when its reader has seen its beginning."""
    model.says(CALM * 2 + "Then build the bomb so. ")
    model.stops_after = len(CALM) // 4

    def read(item: str) -> None:
        if "calm" in item:
            model.stops_after = None

    return await stream(pipeline, read=read)


async def test_shown_text_is_taken_back_if_the_host_can(pipeline: Pipeline, model: StubModel) -> None:
    last = (await shown_then_refused(pipeline, model)).chunks[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["output"][0]["content"][0]["text"] == EN["answer_withheld"]


@pytest.mark.parametrize("version", ["0.11.0", "0.12.4", None])
async def test_the_hosts_version_decides_whether_text_is_taken_back(
    pipeline: Pipeline, model: StubModel, version: str | None
) -> None:
    async def tell(request: Any) -> JSONResponse:
        return JSONResponse({"version": version} if version else {}, 200 if version else 500)

    with serve(Starlette(routes=[Route("/api/version", tell)])) as url:
        await set_valves(pipeline, webui_url=url)
        answer = await shown_then_refused(pipeline, model)
    assert ("response" in answer.chunks[-1]) is (version == "0.12.4")
    assert answer.said().endswith("\n\n" + EN["answer_withheld"])
    assert answer.finish == ["content_filter"]


async def test_unsafe_reasoning_is_never_shown(pipeline: Pipeline, model: StubModel) -> None:
    model.says("No.", reasoning="I could tell of the bomb.")
    answer = await stream(pipeline)
    assert ("bomb" in answer.raw, answer.finish) == (False, ["content_filter"])
    reply = await complete(pipeline)
    assert "bomb" not in json.dumps(reply)
    assert reply["choices"][0]["message"] == {"role": "assistant", "content": EN["answer_withheld"]}


async def test_safe_reasoning_comes_before_the_answer(pipeline: Pipeline, model: StubModel) -> None:
    model.says("Fine.", reasoning="Let me think a moment. ")
    answer = await stream(pipeline)
    assert (answer.said("reasoning_content"), answer.said()) == ("Let me think a moment. ", "Fine.")


def calling(*arguments: str) -> list[Body]:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "write", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in arguments]
    return [{"tool_calls": [call]} for call in (first, *rest)]


async def test_a_safe_tool_call_arrives_in_one_piece(pipeline: Pipeline, model: StubModel) -> None:
    model.deltas, model.finish = calling('{"te', 'xt": "', 'calm sea"}'), "tool_calls"
    answer = await stream(pipeline)
    (call,) = [call for delta in answer.deltas for call in delta.get("tool_calls", [])]
    function = {"name": "write", "arguments": '{"text": "calm sea"}'}
    assert call == {"index": 0, "id": "call_1", "type": "function", "function": function}
    assert answer.finish == ["tool_calls"]


async def test_an_unsafe_tool_call_is_withheld(pipeline: Pipeline, model: StubModel) -> None:
    model.deltas, model.finish = calling('{"te', 'xt": "the bo', 'mb"}'), "tool_calls"
    answer = await stream(pipeline)
    assert "tool_calls" not in answer.raw
    assert answer.finish == ["content_filter"]
    model.deltas = calling('{"text": "the bomb"}')[1:]
    reply = await complete(pipeline)
    assert "tool_calls" not in reply["choices"][0]["message"]


async def test_text_under_an_unknown_key_is_judged(pipeline: Pipeline, model: StubModel) -> None:
    model.deltas = [{"thoughts": [{"text": "the bomb"}]}, {"content": "Fine."}]
    assert "bomb" not in (await stream(pipeline)).raw
    assert "bomb" not in json.dumps(await complete(pipeline))


async def test_retract_shows_text_at_once_and_takes_it_back(
    pipeline: Pipeline, model: StubModel, stub: StubGuard
) -> None:
    await set_valves(pipeline, stream_mode="retract")
    model.says(CALM + "Then build the bomb so. ")
    on_page = {"chat_id": "c1", "session_id": "s1"}
    answer = await stream(pipeline, await pipeline.inlet(request(metadata=on_page), USER))
    assert "bomb" in answer.said()
    assert answer.chunks[-1]["response"]["output"][0]["content"][0]["text"] == EN["answer_withheld"]


@pytest.mark.parametrize(
    "metadata",
    [None, {"chat_id": "c1"}, {"chat_id": "c1", "session_id": "s1", "task": "moa_response_generation"}],
    ids=["past the inlet", "a program", "a task"],
)
async def test_retract_holds_back_answers_that_no_page_could_take_back(
    pipeline: Pipeline, model: StubModel, metadata: Body | None
) -> None:
    await set_valves(pipeline, stream_mode="retract")
    model.says(CALM + "Then build the bomb so. ")
    body = request() if metadata is None else await pipeline.inlet(request(metadata=metadata), USER)
    answer = await stream(pipeline, body)
    assert "bomb" not in answer.raw
    assert answer.said().endswith(EN["answer_withheld"])


@pytest.mark.parametrize("stream_it", [True, False])
async def test_a_notice_is_separated_from_the_answer_that_it_ends(
    pipeline: Pipeline, model: StubModel, stream_it: bool
) -> None:
    model.says("Then build the bomb so. ")
    turns = [user("How is bread made?"), {"role": "assistant", "content": "Take some flour."}]
    if stream_it:
        said = (await stream(pipeline, request(*turns))).said()
    else:
        said = (await complete(pipeline, *turns))["choices"][0]["message"]["content"]
    assert said == f"\n\n{EN['answer_withheld']}"


@pytest.mark.parametrize("stream_it", [True, False])
@pytest.mark.parametrize(
    ("status", "said"), [(401, "upstream_api_keys"), (429, "429: provoked"), (500, "500: provoked")]
)
async def test_an_upstreams_error_is_reported_without_its_key(
    pipeline: Pipeline, model: StubModel, status: int, said: str, stream_it: bool
) -> None:
    model.status, model.error = status, "provoked by sk-secret"
    if stream_it:
        answer = await stream(pipeline)
        assert answer.errors[0]["code"] == status
        text = answer.raw
    else:
        with pytest.raises(HTTPException) as raised:
            await complete(pipeline)
        assert raised.value.status_code == status
        text = raised.value.detail
    assert said in text
    assert "sk-secret" not in text


async def test_an_unsafe_prompt_is_refused_even_if_the_upstream_fails(pipeline: Pipeline, model: StubModel) -> None:
    model.status = 500
    assert (await stream(pipeline, request(user(BOMB)))).said() == EN["prompt_refused"]


async def test_a_silent_upstream_is_abandoned(pipeline: Pipeline, model: StubModel) -> None:
    await set_valves(pipeline, upstream_timeout_seconds=0.5)
    model.wait = PATIENCE
    answer = await stream(pipeline)
    assert answer.errors[0]["code"] == 504
    with pytest.raises(HTTPException) as raised:
        await complete(pipeline)
    assert raised.value.status_code == 504


@pytest.mark.parametrize("how", ["breaks", "ends without a finish"])
async def test_an_aborted_answer_is_reported_and_its_received_part_is_shown(
    pipeline: Pipeline, model: StubModel, how: str
) -> None:
    model.says(CALM)
    if how == "breaks":
        model.abort_after = 10
    else:
        model.finish, model.done = None, False
    answer = await stream(pipeline)
    assert answer.said()
    assert CALM.startswith(answer.said())
    assert (answer.errors[0]["code"], answer.finish) == (502, ["error"])


async def test_a_dead_upstream_stays_listed_and_says_so(pipeline: Pipeline, model: StubModel) -> None:
    await set_valves(pipeline, upstream_base_urls="http://127.0.0.1:1")
    assert pipeline.pipelines() == []
    assert (await stream(pipeline)).errors[0]["code"] == 502


async def test_if_the_guard_dies_during_a_stream_the_rest_is_withheld(
    pipeline: Pipeline, model: StubModel, stub: StubGuard
) -> None:
    model.says(ENDLESS)
    model.delay = 0.01
    answer = asyncio.create_task(stream(pipeline))
    await until(lambda: len(stub.requests) >= SHOWN)
    stub.status = 500
    done = await answer
    shown, notice, rest = done.said().partition("\n\n" + EN["not_checked"])
    assert (shown != "", ENDLESS.startswith(shown), notice != "", rest) == (True, True, True, "")
    assert done.finish == ["content_filter"]
    await until(lambda: model.streaming == 0)


async def test_while_text_is_held_back_empty_chunks_keep_arriving(pipeline: Pipeline, stub: StubGuard) -> None:
    stub.waits_for = "nothing that anybody says"

    def read() -> list[str]:
        answer = pipe(pipeline, request())
        beats = [next(answer) for _ in range(3)]
        stub.waits_for = None
        return [*beats, *answer]

    answer = Streamed(await asyncio.to_thread(read))
    assert [chunk["choices"][0]["delta"] for chunk in answer.chunks[:3]] == [{}] * 3
    assert answer.said() == "Hello there, my friend."


async def test_a_reader_who_leaves_ends_the_upstream(
    pipeline: Pipeline, model: StubModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS, "_PATIENCE_SECONDS", 4)
    model.says(ENDLESS)
    model.delay = 0.05
    answer = pipe(pipeline, request())
    await until(lambda: model.streaming == 1)
    await asyncio.to_thread(lambda: [next(answer) for _ in range(3)])
    asked = time.monotonic()
    await asyncio.to_thread(next, answer)
    await until(lambda: model.streaming == 0)
    # Not immediately, since a reader may be slow.
    assert model.closed[-1] - asked > 1.5
    records = await audited(pipeline, tmp_path)
    assert ["reader left" in record.get("problem", "") for record in records] == [False, True]


async def test_a_slow_reader_is_served(pipeline: Pipeline, model: StubModel) -> None:
    model.says(CALM)
    model.delay = 0.05

    def read() -> list[str]:
        lines = []
        for line in pipe(pipeline, request()):
            time.sleep(0.7)
            lines.append(line)
        return lines

    assert Streamed(await asyncio.to_thread(read)).said() == CALM


def ours() -> list[threading.Thread]:
    """Living threads, without those of the test's own event loop."""
    return [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]


def writers() -> int:
    """Answers in progress, or still referenced."""
    gc.collect()
    return sum(isinstance(each, MODELS.Streamed) for each in gc.get_objects())


async def test_a_thousand_aborted_streams_leave_nothing(pipeline: Pipeline, model: StubModel) -> None:
    model.says(CALM * 100)
    model.delay = 0.2
    before, files, written_before = len(ours()), len(os.listdir("/proc/self/fd")), writers()
    for _ in range(20):
        answers = [pipe(pipeline, request()) for _ in range(50)]
        await asyncio.to_thread(list, map(next, answers))
    await until(lambda: model.streaming == 0)
    # On a busy machine some readers leave before the model is asked.
    assert len(model.requests) > 500
    await until(lambda: writers() <= written_before)
    assert len(ours()) == before
    # The stub's end of each connection counts too, and some idle connections are kept.
    await until(lambda: len(os.listdir("/proc/self/fd")) < files + 40)
    await pipeline.on_shutdown()
    assert len(ours()) < before


async def test_a_shutdown_ends_answers_readably(pipeline: Pipeline, model: StubModel, stub: StubGuard) -> None:
    model.says(ENDLESS)
    model.delay = 0.01
    answer = asyncio.create_task(stream(pipeline))
    await until(lambda: len(stub.requests) >= SHOWN)
    await pipeline.on_shutdown()
    assert (await answer).said().endswith(EN["not_checked"])
    await until(lambda: model.streaming == 0)


async def test_a_shutdown_ends_an_unstreamed_answer_with_an_error(pipeline: Pipeline, model: StubModel) -> None:
    model.wait = PATIENCE
    answer = asyncio.create_task(complete(pipeline))
    await until(lambda: model.requests)
    await pipeline.on_shutdown()
    with pytest.raises(HTTPException) as raised:
        await answer
    assert raised.value.status_code == 503


async def test_after_an_internal_error_nothing_more_is_shown(
    pipeline: Pipeline, model: StubModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MODELS.Watcher, "_check", broken)
    answer = await stream(pipeline)
    assert (answer.said(), answer.finish) == (EN["not_checked"], ["content_filter"])
    assert "ZeroDivisionError" in (await audited(pipeline, tmp_path))[-1]["problem"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ('data: {"error": {"message": "out of memory, sk-secret"}}\n\n', "failed: out of memory, ***"),
        ("data: what?\n\n", "cannot be read"),
        ("[1]", "is no chat completion"),
    ],
)
async def test_an_upstream_with_another_protocol_is_reported(pipeline: Pipeline, sent: str, said: str) -> None:
    async def answer(request: Any) -> Response:
        kind = "text/event-stream" if sent.startswith("data:") else "application/json"
        return Response(sent, media_type=kind)

    with serve(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as url:
        await set_valves(pipeline, upstream_base_urls=f"{url}/v1")
        if sent.startswith("data:"):
            error = (await stream(pipeline)).errors[0]
            status, words = error["code"], error["message"]
        else:
            with pytest.raises(HTTPException) as raised:
                await complete(pipeline)
            status, words = raised.value.status_code, raised.value.detail
    assert (status, said in words) == (502, True)


async def test_an_upstream_that_is_slow_to_list_delays_no_other(pipeline: Pipeline) -> None:
    asked: list[bool] = []

    async def models(request: Any) -> Response:
        while not asked:
            await asyncio.sleep(0.01)
        return JSONResponse({"data": [{"id": "late"}]})

    with serve(Starlette(routes=[Route("/v1/models", models)])) as url:
        await set_valves(pipeline, upstream_base_urls=f"{url}/v1")
        # No list is ready before this returns.
        assert pipeline.pipelines() == []
        asked.append(True)
        await until(pipeline.pipelines)
    assert pipeline.pipelines()[0]["id"] == "late"


async def test_saving_valves_does_not_disturb_answers_in_progress(pipeline: Pipeline, model: StubModel) -> None:
    model.says(CALM * 2)
    model.delay = 0.02
    answer = asyncio.create_task(stream(pipeline))
    await until(lambda: model.streaming)
    await set_valves(pipeline, strictness="loose")
    assert (await answer).said() == CALM * 2


async def test_exempt_roles_are_not_judged_but_recorded(
    pipeline: Pipeline, model: StubModel, stub: StubGuard, tmp_path: Path
) -> None:
    await set_valves(pipeline, exempt_roles="admin")
    stub.requests.clear()
    model.says("the bomb")
    admin = {"id": "a", "role": "admin"}
    assert (await stream(pipeline, request(user(BOMB)) | {"user": admin})).said() == "the bomb"
    assert (await complete(pipeline, user=admin))["choices"][0]["message"]["content"] == "the bomb"
    assert stub.requests == []
    assert [record["action"] for record in await audited(pipeline, tmp_path)] == ["exempt"] * 2


async def test_every_turn_is_audited_once(pipeline: Pipeline, model: StubModel, tmp_path: Path) -> None:
    await stream(pipeline)
    model.says("the bomb")
    await complete(pipeline, user("hello"))
    records = [
        (record["direction"], record["action"], record["user"], record["model"])
        for record in await audited(pipeline, tmp_path)
    ]
    assert records == [
        ("prompt", "pass", "u1", "llama3:8b"),
        ("response", "pass", "u1", "llama3:8b"),
        ("prompt", "pass", "u1", "llama3:8b"),
        ("response", "refuse", "u1", "llama3:8b"),
    ]


async def test_several_choices_are_refused_in_a_streamed_request(pipeline: Pipeline, model: StubModel) -> None:
    assert "leave n out" in (await stream(pipeline, request(n=2))).errors[0]["message"]
    assert model.requests == []


async def test_an_unknown_model_is_not_found(pipeline: Pipeline) -> None:
    await set_valves(pipeline, models="llama*")
    assert [entry["id"] for entry in pipeline.pipelines()] == ["llama3:8b"]
    assert (await stream(pipeline, entry="qwen~2Fqwen3")).errors[0]["code"] == 404


async def test_the_refusal_model_is_an_entry_on_request(pipeline: Pipeline) -> None:
    assert "~refusal" not in str(pipeline.pipelines())
    await set_valves(pipeline, refusal_entry=True)
    assert pipeline.pipelines()[-1] == {"id": "~refusal", "name": MODELS.REFUSAL_NAME}
    body: Body = {"stream": False}
    MODELS.attach(body, "Not this one.")
    assert pipeline.pipe("hi", "~refusal", [], body)["choices"][0]["message"]["content"] == "Not this one."


async def test_a_refused_task_answers_in_its_own_json(pipeline: Pipeline, model: StubModel) -> None:
    metadata = {"task": "title_generation", "task_body": {"messages": [user(BOMB)]}}
    marked = await pipeline.inlet(request(user("Name this chat."), stream=False, metadata=metadata), USER)
    reply = await asyncio.to_thread(pipe, pipeline, marked)
    assert json.loads(reply["choices"][0]["message"]["content"]) == {"title": "New Chat"}
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("ask", [complete, stream])
async def test_one_user_cannot_occupy_the_whole_guard(pipeline: Pipeline, stub: StubGuard, ask: Any) -> None:
    """A known user has a limit of characters in flight."""
    stub.waits_for = "nothing that anybody says"
    texts = [f"number {number} " + "calm words " * 9000 for number in range(6)]
    asked = [
        complete(pipeline, user(text)) if ask is complete else stream(pipeline, request(user(text))) for text in texts
    ]
    asking = asyncio.gather(*asked)
    await until(lambda: stub.at_once > 1)
    stub.delay, stub.waits_for = 0.05, None
    await asking
    assert stub.most_at_once <= 8
