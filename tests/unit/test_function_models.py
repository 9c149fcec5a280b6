"""The guarded models' Function: what it asks of Open WebUI, and what it makes of every kind of reply."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, CALM, USER, request, user
from tests.stands.functions import load_function
from tests.stands.guarded_models import Streamed
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import HEAD, USAGE
from tests.stands.own_webui import ADMIN, OwnWebui
from tests.stands.waiting import PATIENCE
from webui.bodies import Body

FUNCTION = "qwen3guard_function_models"
ENTRY, HIDDEN = f"{FUNCTION}.demo-chat", f"{FUNCTION}.check"
EN = TEXTS["en"]
UNSAFE = "Then they built a bomb. " + CALM
PAGE = {"chat_id": "c1", "session_id": "s1", "message_id": "m1"}
PIPE = load_function(FUNCTION)
Reply = Any


@pytest.fixture
def webui(tmp_path: Path) -> Iterator[OwnWebui]:
    webui = OwnWebui(tmp_path)
    webui.reply = lambda body: streamed(CALM) if body["stream"] else completion(CALM)
    with webui.installed():
        yield webui


@pytest.fixture
async def pipe(webui: OwnWebui, guard_url: str) -> AsyncIterator[Any]:
    pipe = type(PIPE)()
    audit = str(webui.data / "audit.jsonl")
    pipe.valves = pipe.Valves(guard_base_url=guard_url, timeout_seconds=PATIENCE, audit_path=audit)
    yield pipe
    await _close(pipe)


async def _close(pipe: Any) -> None:
    """Open WebUI never does."""
    if moderator := pipe._service._moderators.take():
        await moderator.aclose()


async def audited(pipe: Any, webui: OwnWebui) -> list[Body]:
    """All audit records."""
    await _close(pipe)
    files = sorted(webui.data.glob("audit-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def completion(text: str, **message: Any) -> Body:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def events(text: str, *, size: int = 8, finish: str | None = "stop") -> list[str]:
    """A streamed answer, line by line, as Open WebUI passes it on."""
    deltas = [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    choices: list[Body] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices += [{"index": 0, "delta": {}, "finish_reason": finish}] if finish else []
    chunks = [{**HEAD, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
    return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def streamed(text: str, **more: Any) -> StreamingResponse:
    return StreamingResponse(each(events(text, **more)))


async def each(parts: list[Any], then: BaseException | None = None) -> AsyncIterator[Any]:
    for part in parts:
        yield part
        await asyncio.sleep(0)
    if then is not None:
        raise then


async def read(reply: StreamingResponse) -> Streamed:
    return Streamed([str(part).removesuffix("\n\n") async for part in reply.body_iterator])


async def stream(pipe: Any, webui: OwnWebui, *messages: Body, entry: str = ENTRY, **more: Any) -> Streamed:
    given = {"__user__": USER, "__request__": webui.request(), "__metadata__": {}, **more}
    reply = await pipe.pipe({**request(*messages), "model": entry}, **given)
    assert isinstance(reply, StreamingResponse)
    return await read(reply)


async def complete(pipe: Any, webui: OwnWebui, *messages: Body, entry: str = ENTRY, **more: Any) -> Any:
    given = {"__user__": USER, "__request__": webui.request(), "__metadata__": {}, **more}
    return await pipe.pipe({**request(*messages, stream=False), "model": entry}, **given)


def error_of(reply: Any) -> tuple[int, str]:
    """The status and the text of a failure, as Open WebUI passes them on."""
    assert isinstance(reply, StreamingResponse)
    # Where Open WebUI looks for the text that the page shows.
    return reply.status_code, json.loads(bytes(reply.body))["error"]["message"]


# ---- the list ----


async def test_models_are_listed_with_the_names_that_users_know(pipe: Any, webui: OwnWebui) -> None:
    webui.listed = [
        {"id": "demo-chat", "name": "Demo chat"},
        {"id": "llama3:8b", "name": "llama3:8b"},
        {"id": "off", "name": "Off"},
        {"id": "org/m.1"},
        {"id": "filter", "name": "A filter", "pipeline": {"type": "filter"}},
        {"id": "check", "name": "Nobody can tell it from the hidden entry"},
    ]
    webui.record("llama3:8b", name="Llama")
    webui.record("off", is_active=False)
    assert await pipe.pipes() == [
        {"id": "demo-chat", "name": "Demo chat (guarded)"},
        {"id": "llama3:8b", "name": "Llama (guarded)"},
        {"id": "org/m.1", "name": "org/m.1 (guarded)"},
        {"id": "check", "name": "Qwen3Guard (hidden)"},
    ]
    pipe.valves = pipe.Valves(models="llama*, org/*", model_names="{model}", hidden_entry=False)
    assert [entry["name"] for entry in await pipe.pipes()] == ["Llama", "org/m.1"]


async def test_its_own_entries_are_never_guarded_again(pipe: Any, webui: OwnWebui) -> None:
    inner: list[Any] = []

    class Own:
        async def pipes(self) -> None:
            inner.append(await pipe.pipes())

    webui.functions = [Own()]
    assert [entry["id"] for entry in await pipe.pipes()] == ["demo-chat", "check"]
    assert inner == [[]]
    assert len(await pipe.pipes()) == 2


async def test_the_hidden_entry_is_public_and_hidden_and_an_admins_choice_stays(pipe: Any, webui: OwnWebui) -> None:
    await pipe.pipes()
    record = webui.records[HIDDEN]
    assert record.meta["hidden"] is True
    assert record.access_grants == [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    assert (record.user_id, record.base_model_id) == (ADMIN["id"], None)
    webui.record(HIDDEN, name="closed by an admin")
    await pipe.pipes()
    assert webui.records[HIDDEN].name == "closed by an admin"


# ---- the answer ----


async def test_a_safe_answer_comes_whole(pipe: Any, webui: OwnWebui) -> None:
    answer = await stream(pipe, webui)
    assert (answer.said(), answer.finish, answer.errors) == (CALM, ["stop"], [])
    whole = await complete(pipe, webui)
    assert whole["choices"][0]["message"]["content"] == CALM
    assert whole["usage"] == USAGE
    assert [body["model"] for body in webui.asked] == ["demo-chat"] * 2


async def test_nothing_of_an_unsafe_answer_is_said(pipe: Any, webui: OwnWebui) -> None:
    webui.reply = lambda body: streamed(CALM + UNSAFE) if body["stream"] else completion(CALM + UNSAFE)
    answer = await stream(pipe, webui)
    assert "bomb" not in answer.raw
    assert (answer.said().endswith(EN["answer_withheld"]), answer.finish) == (True, ["content_filter"])
    (choice,) = (await complete(pipe, webui))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (EN["answer_withheld"], "content_filter")


async def test_a_refused_prompt_is_answered_with_the_notice(pipe: Any, webui: OwnWebui) -> None:
    answer = await stream(pipe, webui, user(BOMB))
    assert (answer.said(), answer.finish) == (EN["prompt_refused"], ["content_filter"])
    (choice,) = (await complete(pipe, webui, user(BOMB)))["choices"]
    assert choice["message"]["content"] == EN["prompt_refused"]


async def test_a_call_that_a_refusal_ends_is_not_cancelled_during_open_webuis_queries(
    pipe: Any, webui: OwnWebui, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(type(pipe).pipe.__globals__, "_QUERIES_SECONDS", PATIENCE)
    queried, closed = asyncio.Event(), asyncio.Event()

    async def asked() -> StreamingResponse:
        await queried.wait()
        return StreamingResponse(each([]), background=BackgroundTask(closed.set))

    webui.reply = lambda body: asked()
    answer = await stream(pipe, webui, user(BOMB))
    assert answer.said() == EN["prompt_refused"]
    assert not closed.is_set()
    queried.set()
    await asyncio.wait_for(closed.wait(), PATIENCE)


async def test_a_guard_that_is_away_withholds_all(pipe: Any, webui: OwnWebui, stub: StubGuard) -> None:
    stub.status = 500
    answer = await stream(pipe, webui)
    assert (answer.said(), answer.finish) == (EN["not_checked"], ["content_filter"])


async def test_what_goes_on_to_the_model_is_the_request_and_nothing_of_the_page(pipe: Any, webui: OwnWebui) -> None:
    messages = [user("hi"), user("there")]
    metadata = {**PAGE, "features": {"a": 1}, "selected": "x"}
    outer = webui.request(direct=False, model={"id": "x"}, metadata={**metadata}, bypass_filter=False, mine=1)
    given = {"__user__": USER, "__request__": outer, "__metadata__": metadata}
    for _ in range(2):
        reply = await pipe.pipe({**request(*messages, seed=7), "model": ENTRY}, **given)
        assert (await read(reply)).finish == ["stop"]
    # With a session, Open WebUI would give other Functions what it takes to write into the page.
    assert webui.asked[0]["metadata"] == {"chat_id": "c1", "message_id": "m1", "features": {"a": 1}, "selected": "x"}
    assert webui.asked[0]["seed"] == 7
    assert [body["messages"] for body in webui.asked] == [messages, messages]
    assert webui.options[0]["bypass_filter"] is True
    # Models of one request write into its state one after another.
    assert webui.requests[0] is not outer
    assert vars(outer.state)["_state"]["bypass_filter"] is False
    assert webui.requests[0].scope["state"].keys() == {"mine", "bypass_filter", "qwen3guard_routes"}
    assert webui.requests[0].app is outer.app


SAID = {
    "id": "r",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": CALM}]}],
}
OLLAMA = [part.encode() for part in events(CALM)]
STREAMS: dict[str, Callable[[], Reply]] = {
    "lines of bytes": lambda: StreamingResponse(each(OLLAMA)),
    "halves of lines": lambda: StreamingResponse(
        each([part[at:end] for part in OLLAMA for at, end in ((0, 9), (9, None))])
    ),
    "one whole completion": lambda: completion(CALM),
    "one whole completion as JSON": lambda: JSONResponse(completion(CALM)),
    "one whole completion as an event": lambda: StreamingResponse(each([f"data: {json.dumps(completion(CALM))}\n\n"])),
    "without a finish reason": lambda: streamed(CALM, finish=None),
    "without [DONE]": lambda: StreamingResponse(each(events(CALM)[:-1])),
    "Responses API": lambda: StreamingResponse(
        each([f"event: response.completed\ndata: {json.dumps({'type': 'response.completed', 'response': SAID})}\n\n"])
    ),
}


@pytest.mark.parametrize("shape", STREAMS)
async def test_every_shape_of_a_streamed_answer_is_read(pipe: Any, webui: OwnWebui, shape: str) -> None:
    webui.reply = lambda body: STREAMS[shape]()
    answer = await stream(pipe, webui)
    assert (answer.said(), answer.finish, answer.errors) == (CALM, ["stop"], [])


async def _hangs() -> Any:
    await asyncio.sleep(PATIENCE)


async def _hanging_parts() -> AsyncIterator[str]:
    yield events(CALM)[0]
    await asyncio.sleep(PATIENCE)


SERVER = {"error": {"message": "no luck", "type": "x"}}
FAILURES: dict[str, tuple[Callable[[], Reply], int, str]] = {
    "a status with JSON": (lambda: JSONResponse(SERVER, 429), 429, "The model server answered 429: no luck"),
    "a status with text": (lambda: PlainTextResponse("no luck", 503), 503, "The model server answered 503: no luck"),
    "a status with a stream": (lambda: StreamingResponse(each([]), 502), 502, "The model server answered 502"),
    "a refused key": (lambda: JSONResponse(SERVER, 401), 401, "an admin must set the key of its connection"),
    "an error of the host": (lambda: HTTPException(500, "no luck"), 500, "The model server answered 500: no luck"),
    "no model": (lambda: Exception("Model not found"), 404, "Model not found"),
    "any other error": (lambda: KeyError("secret"), 502, "The model cannot be reached"),
    "an error with status 200": (lambda: {"error": {"detail": "no luck"}}, 502, "The model server failed: no luck"),
    "nothing": (dict, 502, "no chat completion"),
    "no object": (lambda: ["x"], 502, "no chat completion"),
    "silence": (_hangs, 504, "did not answer within 0.2 s"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_every_failure_of_a_model_is_said_in_plain_words(pipe: Any, webui: OwnWebui, failure: str) -> None:
    make, status, words = FAILURES[failure]
    if failure == "silence":
        pipe.valves = pipe.valves.model_copy(update={"upstream_timeout_seconds": 0.2})
    webui.reply = lambda body: make()
    found, said = error_of(await complete(pipe, webui))
    assert (found, "secret" in said) == (status, False)
    assert words in said
    answer = await stream(pipe, webui)
    assert (answer.errors[0]["code"], answer.errors[0]["message"]) == (status, said)
    assert answer.finish == ["error"]


async def test_a_failure_is_said_as_an_answer_where_open_webui_would_make_an_empty_one_of_it(
    pipe: Any, webui: OwnWebui
) -> None:
    webui.reply = lambda body: JSONResponse(SERVER, 429)
    for path in ("/api/message", "/api/v1/messages"):
        answer = await complete(pipe, webui, __request__=webui.request(path))
        (choice,) = answer["choices"]
        assert choice["message"]["content"] == "The model server answered 429: no luck"


STREAM_FAILURES: dict[str, tuple[Callable[[], AsyncIterator[Any]], str]] = {
    "breaks off": (lambda: each(events(CALM)[:2]), "ended before its answer was complete"),
    "raises": (lambda: each(events(CALM)[:2], OSError("secret")), "broke off its answer"),
    "an error as an event": (lambda: each([*events(CALM)[:2], f"data: {json.dumps(SERVER)}\n\n"]), "no luck"),
    "an error as a line": (lambda: each([json.dumps(SERVER) + "\n"]), "no luck"),
    "an error of the Responses API": (
        lambda: each([f"data: {json.dumps({'type': 'response.failed', 'response': SERVER})}\n\n"]),
        "no luck",
    ),
    "no stream at all": (lambda: each(["<html>secret</html>"]), "ended before its answer was complete"),
    "silence": (_hanging_parts, "did not answer within 0.2 s"),
    "nothing": (lambda: each([]), "ended before its answer was complete"),
}


@pytest.mark.parametrize("failure", STREAM_FAILURES)
async def test_an_answer_that_fails_on_its_way_says_so(pipe: Any, webui: OwnWebui, failure: str) -> None:
    make, words = STREAM_FAILURES[failure]
    if failure == "silence":
        pipe.valves = pipe.valves.model_copy(update={"upstream_timeout_seconds": 0.2})
    webui.reply = lambda body: StreamingResponse(make())
    answer = await stream(pipe, webui)
    assert (len(answer.errors), answer.finish, "secret" in answer.raw) == (1, ["error"], False)
    assert words in answer.errors[0]["message"]


async def test_events_of_another_api_among_chunks_are_nothing_that_a_model_says(pipe: Any, webui: OwnWebui) -> None:
    odd = f"data: {json.dumps({'type': 'response.output_text.delta', 'delta': UNSAFE})}\n\n"
    webui.reply = lambda body: StreamingResponse(each([*events(CALM)[:2], odd, *events(CALM)[2:]]))
    assert (await stream(pipe, webui)).said() == CALM


async def test_the_words_of_a_server_are_judged_too(pipe: Any, webui: OwnWebui) -> None:
    webui.reply = lambda body: JSONResponse({"error": {"message": "the bomb is ready"}}, 500)
    assert error_of(await complete(pipe, webui)) == (500, "The model server answered 500.")


async def test_a_reader_who_leaves_ends_the_model(pipe: Any, webui: OwnWebui) -> None:
    ended, cleaned = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                for event in events(CALM)[:-2]:
                    yield event
                    await asyncio.sleep(0)
        finally:
            ended.set()

    async def clean() -> None:
        cleaned.set()

    webui.reply = lambda body: StreamingResponse(endless(), background=BackgroundTask(clean))
    reply = await pipe.pipe({**request(), "model": ENTRY}, __user__=USER, __request__=webui.request(), __metadata__={})
    async with aclosing(reply.body_iterator) as lines:
        async for _ in lines:
            break
    assert ended.is_set()
    assert cleaned.is_set()


async def test_no_answer_gets_into_another(pipe: Any, webui: OwnWebui) -> None:
    webui.reply = lambda body: streamed(f"{body['messages'][-1]['content']} " * 40)
    marks = [f"mark{number:02d}" for number in range(64)]
    answers = await asyncio.gather(*(stream(pipe, webui, user(mark)) for mark in marks))
    for mark, answer in zip(marks, answers, strict=True):
        assert answer.said() == f"{mark} " * 40


# ---- system prompts ----


ADMINS = "You write about a bomb squad."


@pytest.mark.parametrize(
    ("owner", "content", "passes"),
    [
        (ADMIN, ADMINS, True),
        (ADMIN, f"{ADMINS}\nBe kind.", True),
        (ADMIN, f"{ADMINS}\n{BOMB}", False),
        (ADMIN, f"{BOMB}\n{ADMINS}", False),
        (USER, ADMINS, False),
    ],
)
async def test_of_a_system_text_only_what_an_admin_wrote_is_trusted(
    pipe: Any, webui: OwnWebui, owner: Body, content: str, passes: bool
) -> None:
    webui.record("preset", base_model_id=ENTRY, user_id=owner["id"], params={"system": ADMINS})
    metadata = {"model": {"id": "preset"}}
    answer = await stream(pipe, webui, {"role": "system", "content": content}, user("hi"), __metadata__=metadata)
    assert (answer.said() == CALM) is passes


async def test_what_a_client_puts_into_an_admins_prompt_is_judged(pipe: Any, webui: OwnWebui) -> None:
    webui.record("preset", params={"system": "Speak of {{TOPIC}}."})
    metadata = {"model": {"id": "preset"}, "variables": {"{{TOPIC}}": BOMB}}
    system = {"role": "system", "content": f"Speak of {BOMB}."}
    answer = await stream(pipe, webui, system, user("hi"), __metadata__=metadata)
    assert answer.said() == EN["prompt_refused"]


# ---- the hidden entry ----


def sent(picked: str, message: str = "", **state: Any) -> Body:
    """What the filter leaves in the request's state."""
    return {"qwen3guard_routes": {message: {"model": picked, "answered": False}}, **state}


async def test_the_picked_model_answers_in_every_round_with_its_own_system_prompt(pipe: Any, webui: OwnWebui) -> None:
    webui.record("preset", base_model_id="demo-chat", params={"system": ADMINS})
    webui.granted = {"preset"}
    for _ in range(2):
        asked = webui.request()
        asked.scope["state"].update(sent("preset", "m1"))
        answer = await stream(pipe, webui, user("hi"), entry=HIDDEN, __request__=asked, __metadata__=PAGE)
        assert answer.said() == CALM
        assert asked.scope["state"]["qwen3guard_routes"]["m1"]["answered"] is True
    assert [body["model"] for body in webui.asked] == ["preset", "preset"]
    assert [body["messages"][0]["content"] for body in webui.asked] == [ADMINS, ADMINS]
    # It is there already, and was judged as far as no admin wrote it.
    assert webui.options[0]["bypass_system_prompt"] is True


async def test_a_users_own_model_has_its_system_prompt_judged(pipe: Any, webui: OwnWebui) -> None:
    webui.record("preset", base_model_id="demo-chat", user_id=USER["id"], params={"system": BOMB})
    webui.granted = {"preset"}
    asked = webui.request()
    asked.scope["state"].update(sent("preset"))
    answer = await stream(pipe, webui, user("hi"), entry=HIDDEN, __request__=asked)
    assert answer.said() == EN["prompt_refused"]


HOLES: dict[str, tuple[Body, Body]] = {
    "asked directly": ({}, {}),
    "sent for another message": (sent("demo-chat", "m2"), {}),
    "sent to itself": (sent(HIDDEN), {}),
    "a preset on it": (sent("on-hidden"), {}),
    "a preset on a preset on it": (sent("on-on-hidden"), {}),
    "a model that the user may not use": (sent("closed"), {}),
    "a model that is not there": (sent("gone"), {}),
    "a direct connection": (sent("demo-chat", direct=True, model={"id": "demo-chat"}), {}),
    "no id": ({"qwen3guard_routes": {"": {"model": ["demo-chat"]}}}, {}),
    "no object": ({"qwen3guard_routes": "demo-chat"}, {}),
}


@pytest.mark.parametrize("hole", HOLES)
async def test_the_hidden_entry_gives_nobody_a_model(pipe: Any, webui: OwnWebui, hole: str) -> None:
    webui.record("on-hidden", base_model_id=HIDDEN)
    webui.record("on-on-hidden", base_model_id="on-hidden")
    webui.record("closed")
    webui.record(HIDDEN)
    webui.granted |= {"on-hidden", "on-on-hidden", HIDDEN}
    state, metadata = HOLES[hole]
    for ask in (stream, complete):
        asked = webui.request()
        asked.scope["state"].update(state)
        reply: Any = await ask(pipe, webui, entry=HIDDEN, __request__=asked, __metadata__=metadata)
        code = reply.errors[0]["code"] if isinstance(reply, Streamed) else error_of(reply)[0]
        assert code in (403, 404)
    assert webui.asked == []


@pytest.mark.parametrize("entry", [f"{FUNCTION}.nobody", f"{FUNCTION}.{ENTRY}", FUNCTION, f"{FUNCTION}."])
async def test_there_is_no_guarded_model_of_another_name(pipe: Any, webui: OwnWebui, entry: str) -> None:
    pipe.valves = pipe.valves.model_copy(update={"models": "demo-*, q*"})
    assert error_of(await complete(pipe, webui, entry=entry))[0] == 404
    assert webui.asked == []


# ---- trouble of the host ----


@pytest.mark.parametrize(
    ("filters", "answers"),
    [([("guard", True)], True), ([("guard", False)], False), ([("other", True)], False), ([], False)],
)
async def test_no_model_answers_while_the_filter_that_must_be_on_is_off(
    pipe: Any, webui: OwnWebui, filters: list[tuple[str, bool]], answers: bool
) -> None:
    webui.filters = filters
    pipe.valves = pipe.valves.model_copy(update={"require_filter": "guard"})
    answer = await stream(pipe, webui)
    assert (answer.said() == CALM, bool(webui.asked)) == (answers, answers)
    if not answers:
        assert "filter guard is off" in answer.errors[0]["message"]
        (record,) = await audited(pipe, webui)
        assert (record["direction"], record["problem"]) == ("prompt", "the filter guard is not active and global")


@pytest.mark.parametrize("missing", ["models.users", "models.models"])
async def test_another_open_webui_gets_no_answer_and_an_admin_reads_why(
    pipe: Any, webui: OwnWebui, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"open_webui.{missing}", None)
    status, said = error_of(await complete(pipe, webui, {"role": "system", "content": "x"}, user("hi")))
    assert status == 500
    assert f"open_webui.{missing}" in said
    (record,) = await audited(pipe, webui)
    assert f"open_webui.{missing}" in record["problem"]


async def test_an_open_webui_that_cannot_ask_a_model_gets_a_notice(
    pipe: Any, webui: OwnWebui, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open_webui.utils.chat", None)
    answer = await stream(pipe, webui)
    assert (answer.said(), answer.finish) == (EN["not_checked"], ["content_filter"])


@pytest.mark.parametrize("missing", ["utils.models", "models.models", "main"])
async def test_an_open_webui_that_cannot_list_its_models_has_no_guarded_ones(
    pipe: Any, webui: OwnWebui, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"open_webui.{missing}", None)
    assert await pipe.pipes() == []


async def test_an_error_of_ours_asks_no_model_and_shows_nothing_of_itself(pipe: Any, webui: OwnWebui) -> None:
    secret = {"id": ["secret"], "role": "user"}
    answer = await stream(pipe, webui, __user__=secret)
    assert (answer.errors[0]["code"], "secret" in answer.raw, webui.asked) == (500, False, [])
    assert "a guarded request could not be made" in (await audited(pipe, webui))[0]["problem"]
