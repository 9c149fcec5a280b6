"""The guarded models' Function in the real Open WebUI: what it guards, and what nobody gets past it."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import Host
from demo.webui_client.visitor import Seen, Visitor
from guard_server.open_webui.records import EVERYBODY
from tests.e2e.bystanders import Bystanders
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN, SEA_PROMPT, UNSAFE, UNSAFE_WORDS
from tests.stands.chats import BOMB, CALM, user
from tests.stands.models.ollama_api import OllamaApi
from tests.stands.models.responses_api import ResponsesApi
from tests.stands.servers import serve
from tests.stands.waiting import wait_until

BASE, OTHER = "demo-chat", "demo-chat-2"
FUNCTION = Host.FUNCTIONS.models
FILTER = Host.FUNCTIONS.filter
ENTRY, HIDDEN = f"{FUNCTION}.{BASE}", f"{FUNCTION}.check"
REFUSED, WITHHELD = EN["prompt_refused"], EN["answer_withheld"]
SYSTEM = "You are the harbour master."
Body = dict[str, Any]
GUARDED, FILTERED = pytest.mark.on("functions-models"), pytest.mark.on("functions-filter")


def ask(guarded: GuardedStack, prompt: str, model: str = ENTRY, **more: Any) -> Seen:
    return Visitor(guarded.stack.user, model).ask(prompt, **more)


def post(guarded: GuardedStack, path: str, **body: Any) -> httpx.Response:
    """The reply to the ordinary user."""
    return guarded.stack.user.http.post(path, json={"model": BASE, "messages": [user(guarded.prompt)], **body})


def ask_two(guarded: GuardedStack, *models: str) -> list[Body]:
    """The answers of two models to one prompt of the ordinary user."""
    answers = [{"model_id": name, "message_id": str(uuid.uuid4())} for name in models]
    question = {"id": str(uuid.uuid4()), "role": "user", "content": guarded.prompt, "models": models}
    more = {"stream": True, "session_id": "s", "parent_id": None, "user_message": question, "message_ids": answers}
    chat = post(guarded, "/api/chat/completions", model=models[0], **more).raise_for_status().json()["chat_id"]
    wait_until(lambda: not guarded.stack.user.get(f"/api/tasks/chat/{chat}")["task_ids"])
    messages = guarded.stack.user.get(f"/api/v1/chats/{chat}")["chat"]["history"]["messages"]
    return [messages[answer["message_id"]] for answer in answers]


def leaks(body: object) -> bool:
    return any(holds(body, word) for word in UNSAFE_WORDS)


@contextmanager
def model(guarded: GuardedStack, name: str, base: str, *, by: str = "admin", **params: Any) -> Iterator[str]:
    """A preset for everybody, which an admin or the user made."""
    form = {"id": name, "base_model_id": base, "name": name, "meta": {}, "params": params, "access_grants": [EVERYBODY]}
    api = guarded.stack.admin if by == "admin" else guarded.stack.user
    api.post("/api/v1/models/create", form)
    guarded.stack.admin.get("/api/models", refresh=True)
    try:
        yield name
    finally:
        guarded.stack.admin.post("/api/v1/models/model/delete", {"id": name})


@contextmanager
def names_stay(guarded: GuardedStack) -> Iterator[None]:
    """The filter sends every request through the hidden entry."""
    with guarded.valves(FILTER, answers="models"):
        yield


# ---- the boundary ----

CLOSED: dict[str, Body] = {
    "/api/chat/completions": {},
    "/api/v1/chat/completions": {"stream": True},
    "/api/v1/messages": {"max_tokens": 100},
    "/openai/chat/completions": {},
    "/openai/responses": {"input": SEA_PROMPT},
    "/api/v1/tasks/title/completions": {},
    "/api/v1/tasks/moa/completions": {"prompt": SEA_PROMPT, "responses": ["a"]},
}


@GUARDED
def test_users_reach_models_without_a_grant_through_guarded_ones_only(guarded: GuardedStack) -> None:
    guarded.model.says(CALM)
    assert ask(guarded, guarded.prompt).text.strip() == CALM.strip()
    guarded.model.requests.clear()
    replies = {path: post(guarded, path, **body) for path, body in CLOSED.items()}
    assert {
        path: reply.status_code for path, reply in replies.items() if reply.status_code not in (400, 403, 404)
    } == {}
    # Open WebUI checks the second model of a request at another place.
    first, second = ask_two(guarded, ENTRY, BASE)
    assert (CALM.strip() in first["content"], second["content"]) == (True, "")
    assert "Model not found" in json.dumps(second)
    with model(guarded, "open-preset", BASE) as preset:
        assert post(guarded, "/api/chat/completions", model=preset).status_code in (400, 403, 404)
    assert len(guarded.asked) == 1


@GUARDED
@pytest.mark.parametrize("stream", [True, False])
def test_programs_get_nothing_unsafe_and_a_failed_models_status(guarded: GuardedStack, stream: bool) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    reply = post(guarded, "/api/chat/completions", model=ENTRY, stream=stream)
    assert (reply.status_code, leaks(reply.text), holds(reply.text, "content_filter")) == (200, False, True)
    refused = post(guarded, "/api/chat/completions", model=ENTRY, stream=stream, messages=[user(BOMB)])
    assert holds(refused.text, REFUSED)
    guarded.model.status = 429
    failed = post(guarded, "/api/chat/completions", model=ENTRY, stream=stream)
    # A stream has begun before its model is asked.
    assert failed.status_code == (200 if stream else 429)
    assert "The model server answered 429: provoked" in failed.text
    seen = ask(guarded, f"{guarded.prompt} {stream}", stream=stream)
    assert "The model server answered 429: provoked" in json.dumps(seen.answer)


@GUARDED
def test_a_preset_keeps_its_system_prompt_in_every_round_of_a_tool(guarded: GuardedStack) -> None:
    with model(guarded, "harbour", ENTRY, system=SYSTEM) as preset:
        check_rounds(guarded, preset)


@GUARDED
def test_a_base_models_own_system_prompt_is_kept_in_every_round_of_a_tool(guarded: GuardedStack) -> None:
    before = guarded.stack.admin.get("/api/v1/models/model", id=BASE)
    guarded.stack.admin.post("/api/v1/models/model/update", before | {"params": {"system": SYSTEM}})
    try:
        check_rounds(guarded, ENTRY)
    finally:
        guarded.stack.admin.post("/api/v1/models/model/update", before)


def check_rounds(guarded: GuardedStack, name: str) -> None:
    """A model that calls a tool, and then answers, reads the system prompt once in both rounds."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    guarded.model.deltas, guarded.model.finish = [{"tool_calls": [call]}], "tool_calls"
    guarded.model.after_tools = CALM
    bystanders = Bystanders(guarded.stack, tool_result="half past five")
    with bystanders.running():
        seen = ask(guarded, f"{guarded.prompt} {uuid.uuid4()}", name, tool_ids=["clock"])
    assert (bystanders.served, CALM.strip() in seen.text) == ({"tool"}, True)
    first, second = guarded.asked
    assert second["messages"][-1]["role"] == "tool"
    for body in (first, second):
        assert [message["role"] for message in body["messages"]].count("system") == 1
        assert json.dumps(body["messages"]).count(SYSTEM) == 1


@contextmanager
def arena(guarded: GuardedStack, *models: str) -> Iterator[str]:
    """A model of Open WebUI that is one of these each time."""
    path, admin = "/api/v1/evaluations/config", guarded.stack.admin
    before = admin.get(path)
    meta = {"model_ids": models, "filter_mode": "include", "access_grants": [EVERYBODY]}
    made = [{"id": "arena-of-ours", "name": "Arena", "meta": meta}]
    admin.post(path, {"ENABLE_EVALUATION_ARENA_MODELS": True, "EVALUATION_ARENA_MODELS": made})
    admin.get("/api/models", refresh=True)
    try:
        yield "arena-of-ours"
    finally:
        admin.post(path, before)
        admin.get("/api/models", refresh=True)


@GUARDED
def test_an_arena_of_guarded_models_is_guarded(guarded: GuardedStack) -> None:
    guarded.model.says(CALM + UNSAFE)
    with arena(guarded, ENTRY) as name:
        seen = ask(guarded, guarded.prompt, name)
    assert (seen.text.endswith(WITHHELD), leaks(seen.answer), seen.answer["selectedModelId"]) == (True, False, ENTRY)


# ---- every kind of model ----


OtherApi = ResponsesApi | OllamaApi


def in_use(guarded: GuardedStack, other: OtherApi) -> str:
    """The id under which users chat with its model."""
    (name,) = other.models
    return f"{FUNCTION}.{name}" if guarded.host.guards_models else name


@pytest.fixture
def other_apis(guarded: GuardedStack) -> Iterator[tuple[OtherApi, ...]]:
    """Models of the Responses API and of Ollama: for everybody themselves, or guarded ones around them."""
    responses, own, admin = ResponsesApi(), OllamaApi(), guarded.stack.admin
    openai, ollama = admin.get("/openai/config"), admin.get("/ollama/config")
    with serve(responses.app) as url, serve(own.app) as ollama_url:
        admin.post(
            "/openai/config/update",
            openai
            | {
                "OPENAI_API_BASE_URLS": [*openai["OPENAI_API_BASE_URLS"], f"{url}/v1"],
                "OPENAI_API_KEYS": [*openai["OPENAI_API_KEYS"], "none"],
                "OPENAI_API_CONFIGS": openai["OPENAI_API_CONFIGS"] | {"1": {"enable": True, "api_type": "responses"}},
            },
        )
        admin.post("/ollama/config/update", ollama | {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": [ollama_url]})
        listed = {one["id"] for one in admin.get("/api/models", refresh=True)["data"]}
        for name in (in_use(guarded, responses), in_use(guarded, own)):
            assert name in listed
            guarded.grant(name, EVERYBODY)
        try:
            yield responses, own
        finally:
            admin.post("/openai/config/update", openai)
            admin.post("/ollama/config/update", ollama)
            admin.get("/api/models", refresh=True)


@pytest.mark.on("functions-models", "functions-filter")
def test_models_of_the_responses_api_and_of_ollama_are_judged(
    guarded: GuardedStack, other_apis: tuple[OtherApi, ...]
) -> None:
    for other in other_apis:
        name = in_use(guarded, other)
        for stream in (True, False):
            other.says(CALM)
            seen = ask(guarded, f"{guarded.prompt} {name} {stream}", name, stream=stream)
            assert (seen.text.strip(), seen.error) == (CALM.strip(), ""), name
            other.says(CALM + UNSAFE)
            seen = ask(guarded, f"{guarded.prompt} And {name} {stream}?", name, stream=stream)
            assert (seen.text.endswith(WITHHELD), leaks(seen.answer)) == (True, False), name
        streamed = {bool(body.get("stream")) for body in other.requests if not holds(body, "### Task:")}
        assert streamed == {guarded.host.streams(True), guarded.host.streams(False)}


# Open WebUI stores the code of Functions, and other tests look for unsafe words in all that it has stored.
PIPES = f"""
UNSAFE = bytes.fromhex("{UNSAFE.encode().hex()}").decode()
CALM = "{CALM}"


class Pipe:
    def pipes(self):
        return [{{"id": name, "name": name}} for name in ("writes", "raises", "says")]

    async def pipe(self, body, __event_emitter__=None, __event_call__=None):
        what = body["model"].split(".")[1]
        if what == "raises":
            raise ValueError("no luck")
        if what == "writes" and __event_emitter__:
            await __event_emitter__({{"type": "message", "data": {{"content": UNSAFE}}}})
            await __event_emitter__({{"type": "status", "data": {{"description": UNSAFE, "done": True}}}})
        return CALM if what == "writes" else CALM + UNSAFE
"""


@contextmanager
def function(guarded: GuardedStack, name: str, content: str) -> Iterator[None]:
    """Another Function, switched on; a filter for all models."""
    admin, path = guarded.stack.admin, "/api/v1/functions"
    admin.post(f"{path}/create", {"id": name, "name": name, "content": content, "meta": {"description": "-"}})
    FunctionsHost(admin).switch(name, active=True)
    admin.get("/api/models", refresh=True)
    try:
        yield
    finally:
        admin.http.delete(f"{path}/id/{name}/delete").raise_for_status()
        admin.get("/api/models", refresh=True)


@GUARDED
def test_another_function_is_guarded_and_cannot_write_into_the_page(guarded: GuardedStack) -> None:
    with function(guarded, "theirs", PIPES):
        seen = {}
        for what in ("writes", "raises", "says"):
            name = f"{FUNCTION}.theirs.{what}"
            guarded.grant(name, EVERYBODY)
            seen[what] = ask(guarded, f"{guarded.prompt} {what}", name)
    assert seen["writes"].text.strip() == CALM.strip()
    assert seen["says"].text.endswith(WITHHELD)
    assert "no luck" in json.dumps(seen["raises"].answer)
    assert not leaks([one.answer for one in seen.values()])
    assert "statusHistory" not in seen["writes"].answer


# ---- names stay ----


@FILTERED
@pytest.mark.parametrize("stream", [True, False])
def test_a_picked_model_answers_under_its_own_name_through_the_guarded_models(
    guarded: GuardedStack, stream: bool
) -> None:
    with names_stay(guarded):
        guarded.model.says(CALM)
        seen = ask(guarded, f"{guarded.prompt} {stream}", BASE, stream=stream)
        program = post(guarded, "/api/chat/completions", stream=stream)
        guarded.model.says(CALM + UNSAFE)
        unsafe = ask(guarded, f"{guarded.prompt} Again {stream}.", BASE, stream=stream)
        unsafe_program = post(guarded, "/api/chat/completions", stream=stream, messages=[user(f"Waves? {stream}")])
        refused = ask(guarded, f"{BOMB} {stream}", BASE, stream=stream)
    assert (seen.text.strip(), seen.answer["model"]) == (CALM.strip(), BASE)
    assert "calm" in program.text
    assert (unsafe.text.endswith(WITHHELD), leaks(unsafe.answer)) == (True, False)
    assert (holds(unsafe_program.text, WITHHELD), leaks(unsafe_program.text)) == (True, False)
    assert refused.error == REFUSED
    assert {body["model"] for body in guarded.asked} == {BASE}


@FILTERED
def test_a_picked_preset_keeps_its_system_prompt_in_every_round_of_a_tool(guarded: GuardedStack) -> None:
    with names_stay(guarded), model(guarded, "pilot", BASE, system=SYSTEM) as preset:
        check_rounds(guarded, preset)


@FILTERED
def test_an_arena_of_picked_models_is_guarded(guarded: GuardedStack) -> None:
    guarded.model.says(CALM + UNSAFE)
    with names_stay(guarded), arena(guarded, BASE) as name:
        seen = ask(guarded, guarded.prompt, name)
    assert (seen.text.endswith(WITHHELD), leaks(seen.answer), seen.answer["selectedModelId"]) == (True, False, BASE)
    # The hidden entry answers no request of which the filter did not say where it goes.
    with names_stay(guarded), arena(guarded, HIDDEN) as name:
        assert ask(guarded, guarded.prompt, name).text == EN["not_checked"]


@FILTERED
def test_the_hidden_entry_gives_nobody_a_model(guarded: GuardedStack) -> None:
    user_api, admin = guarded.stack.user, guarded.stack.admin
    assert HIDDEN in {one["id"] for one in admin.get("/api/models", refresh=True)["data"]}
    guarded.grant(OTHER)
    permissions = admin.get("/api/v1/users/default/permissions")
    own = {**permissions, "workspace": {**permissions["workspace"], "models": True}}
    admin.post("/api/v1/users/default/permissions", own)
    try:
        with names_stay(guarded), model(guarded, "mine", HIDDEN, by="user") as preset:
            replies = [
                post(guarded, path, model=name, stream=stream, **more)
                for path in ("/api/chat/completions", "/api/v1/messages", "/openai/chat/completions")
                for name in (HIDDEN, preset, OTHER)
                for stream in (True, False)
                for more in ({"max_tokens": 10}, {"max_tokens": 10, "model_item": {"direct": True, "id": "x"}})
            ]
            replies.append(post(guarded, "/api/v1/tasks/title/completions", model=HIDDEN))
            replies.append(post(guarded, "/api/v1/tasks/moa/completions", model=HIDDEN, prompt="x", responses=["y"]))
            guarded.model.says(CALM)
            pairs = [ask_two(guarded, BASE, name) for name in (HIDDEN, preset, OTHER)]
    finally:
        admin.post("/api/v1/users/default/permissions", permissions)
        guarded.grant(OTHER, EVERYBODY)
    assert [reply.text for reply in replies if holds(reply.text, "calm day")] == []
    # The first of each pair of models, which the user may use.
    assert [[CALM.strip() in answer["content"] for answer in pair] for pair in pairs] == [[True, False]] * 3
    assert [body["model"] for body in guarded.asked] == [BASE] * 3
    assert user_api.get("/api/models")["data"]


@FILTERED
def test_without_the_guarded_models_nothing_passes(guarded: GuardedStack) -> None:
    functions = FunctionsHost(guarded.stack.admin)
    with names_stay(guarded):
        functions.switch(FUNCTION, active=False)
        guarded.stack.admin.get("/api/models", refresh=True)
        try:
            seen = ask(guarded, guarded.prompt, BASE)
            program = post(guarded, "/api/chat/completions")
        finally:
            functions.switch(FUNCTION, active=True)
            guarded.stack.admin.get("/api/models", refresh=True)
    assert (seen.text, seen.error, program.status_code) == ("", "Model not found", 400)
    assert guarded.asked == []


DIVERTS = """
class Filter:
    class Valves:
        priority = 10_000_000

    async def request(self, body):
        body["model"] = "demo-chat"
        return body
"""


@FILTERED
def test_of_a_request_that_a_later_filter_sends_elsewhere_nothing_is_shown(guarded: GuardedStack) -> None:
    guarded.model.says(CALM + UNSAFE)
    with names_stay(guarded), function(guarded, "diverts", DIVERTS):
        seen = ask(guarded, guarded.prompt, BASE)
        program = post(guarded, "/api/chat/completions", stream=True)
    assert guarded.asked
    assert not leaks([seen.answer, program.text])
    assert re.search(re.escape(EN["not_checked"]), json.dumps(seen.answer, ensure_ascii=False))


# ---- the watchdog ----


@GUARDED
def test_guarded_models_refuse_while_the_filter_that_must_be_on_is_off(guarded: GuardedStack) -> None:
    guarded.model.says(CALM)
    with guarded.valves(require_filter=FILTER):
        seen = ask(guarded, guarded.prompt)
        assert f"the filter {FILTER} is off" in json.dumps(seen.answer)
        program = post(guarded, "/api/chat/completions", model=ENTRY)
        assert (program.status_code, f"the filter {FILTER} is off" in program.text) == (503, True)
        assert guarded.asked == []
        functions = FunctionsHost(guarded.stack.admin)
        functions.switch(FILTER, active=True)
        try:
            assert ask(guarded, guarded.prompt).text.strip() == CALM.strip()
        finally:
            functions.switch(FILTER, active=False)

    def problems() -> list[str]:
        return [one["problem"] for one in guarded.audit(seen.chat_id) if one["direction"] == "prompt"]

    wait_until(problems)
    assert problems() == [f"the filter {FILTER} is not active and global"]
