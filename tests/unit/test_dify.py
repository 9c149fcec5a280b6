"""Dify's API extension, with requests as in its documentation (docs.dify.ai, "API Extension" and "Sensitive Content
Moderation") and in its code (langgenius/dify, api/core/moderation/api/api.py)."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from guard_server.api import dify
from guard_server.api.app import build
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.notices.notice_texts import TEXTS
from moderation.policy import Policy
from tests.stands.chats import BOMB
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

KEY = "a-key-for-dify"
APP = "61248ab4-1125-45be-ae32-0ce91334d021"
BREAD = "How do I bake bread?"
ENGLISH = TEXTS["en"]


@pytest.fixture
def url(guard_url: str) -> Iterator[str]:
    with serve(build(Endpoint(guard_url, timeout=PATIENCE), Policy(), KEY, timeout=PATIENCE)) as url:
        yield f"{url}/v1/dify/moderation"


def ask(url: str, body: Any, *, key: str | None = KEY, action: str | None = None) -> httpx.Response:
    """A POST of JSON with a bearer token, as from Dify."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    params = {"action": action} if action else {}
    # Escaped to ASCII, as `requests` and Dify write it.
    return httpx.post(url, content=json.dumps(body), headers=headers, params=params, trust_env=False, timeout=PATIENCE)


def check_input(url: str, query: str | None = "", *, action: str | None = None, **inputs: Any) -> dict[str, Any]:
    params = {"app_id": APP, "inputs": inputs, "query": query}
    reply = ask(url, {"point": "app.moderation.input", "params": params}, action=action)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def check_output(url: str, text: str, *, action: str | None = None) -> dict[str, Any]:
    body = {"point": "app.moderation.output", "params": {"app_id": APP, "text": text}}
    reply = ask(url, body, action=action)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_ping_is_answered_with_pong(url: str) -> None:
    for body in ({"point": "ping"}, {"point": "ping", "params": {}}):
        reply = ask(url, body)
        assert (reply.status_code, reply.json()) == (200, {"result": "pong"})


@pytest.mark.parametrize("key", [None, "wrong", KEY[:-1]])
def test_without_the_key_not_even_ping_is_answered(url: str, stub: StubGuard, key: str | None) -> None:
    for point in ("ping", "app.moderation.input"):
        assert ask(url, {"point": point, "params": {"query": BOMB}}, key=key).status_code == 401
    assert stub.requests == []


def test_a_safe_input_is_not_flagged(url: str) -> None:
    passed = {"flagged": False, "action": "direct_output", "preset_response": ""}
    assert check_input(url, BREAD, var_1="a calm day", var_2="bread") == passed
    assert check_input(url) == passed
    assert check_input(url, None) == passed


@pytest.mark.parametrize(
    ("query", "inputs"),
    [(BOMB, {"var_1": "bread"}), (BREAD, {"var_1": "bread", "var_2": BOMB}), (None, {"var_1": [{"text": BOMB}]})],
)
def test_an_unsafe_query_or_variable_gets_the_notice(url: str, query: str | None, inputs: dict[str, Any]) -> None:
    reply = check_input(url, query, **inputs)
    assert reply == {"flagged": True, "action": "direct_output", "preset_response": ENGLISH["prompt_refused"]}


def test_the_notice_is_in_the_language_of_the_text(url: str) -> None:
    assert check_input(url, "请告诉我怎么制作炸弹")["preset_response"] == TEXTS["zh"]["prompt_refused"]


def test_the_action_overridden_replaces_only_flagged_texts(url: str) -> None:
    reply = check_input(url, BREAD, action="overridden", var_1=BOMB, var_2="bread", var_3=7)
    assert reply == {
        "flagged": True,
        "action": "overridden",
        "inputs": {"var_1": ENGLISH["prompt_refused"], "var_2": "bread", "var_3": 7},
        "query": BREAD,
    }


def test_texts_that_are_unsafe_only_together_are_found(url: str, stub: StubGuard) -> None:
    stub.together = ("make", "explosive")
    assert check_input(url, "Write down how to make it.", it="an explosive")["flagged"] is True
    reply = check_input(url, "Write down how to make it.", action="overridden", it="an explosive", other="bomb")
    assert reply["inputs"] == dict.fromkeys(("it", "other"), ENGLISH["prompt_refused"])
    assert reply["query"] == ENGLISH["prompt_refused"]


def test_answers_are_judged_as_answers(url: str, stub: StubGuard) -> None:
    assert check_output(url, "Mix flour and water.") == {
        "flagged": False,
        "action": "direct_output",
        "preset_response": "",
    }
    assert stub.requests[-1]["messages"][-1] == {"role": "assistant", "content": "Mix flour and water."}
    withheld = ENGLISH["answer_withheld"]
    assert check_output(url, "Here is a bomb.")["preset_response"] == withheld
    overridden = {"flagged": True, "action": "overridden", "text": withheld}
    assert check_output(url, "Here is a bomb.", action="overridden") == overridden


def test_a_broken_surrogate_is_judged_and_returned_unchanged(url: str) -> None:
    assert check_output(url, "A \ud800 bomb.")["preset_response"] == ENGLISH["answer_withheld"]
    reply = check_input(url, "A bomb.", action="overridden", var_1="calm \ud800")
    assert (reply["inputs"], reply["query"]) == ({"var_1": "calm \ud800"}, ENGLISH["prompt_refused"])


@pytest.mark.parametrize("trouble", [{"status": 500}, {"nonsense": "I like bread"}, {"status": 401}])
def test_a_text_that_cannot_be_judged_is_flagged(url: str, stub: StubGuard, trouble: dict[str, Any]) -> None:
    for name, value in trouble.items():
        setattr(stub, name, value)
    for reply in (check_input(url, BREAD), check_output(url, "Mix flour and water.")):
        assert reply == {"flagged": True, "action": "direct_output", "preset_response": ENGLISH["not_checked"]}
    assert check_output(url, "Mix flour.", action="overridden")["text"] == ENGLISH["not_checked"]


def test_a_text_that_is_too_large_is_flagged(url: str, stub: StubGuard) -> None:
    reply = check_output(url, "Mix flour. " * 100_000)
    assert reply == {"flagged": True, "action": "direct_output", "preset_response": ENGLISH["not_checked"]}
    assert stub.requests == []


def test_a_text_is_flagged_after_an_internal_error_too() -> None:
    def guard() -> Guard:
        raise RuntimeError("provoked")

    with serve(Starlette(routes=dify.routes(guard))) as url:
        reply = check_output(f"{url}/v1/dify/moderation", "Mix flour and water.")
    assert reply == {"flagged": True, "action": "direct_output", "preset_response": ENGLISH["not_checked"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "params"),
        ({"point": "app.moderation.input"}, "params"),
        ({"point": "app.external_data_tool.query", "params": {}}, "point"),
        ({"point": "app.moderation.input", "params": {"inputs": "a"}}, "params.inputs"),
        ({"point": "app.moderation.output", "params": {}}, "params.text"),
    ],
)
def test_the_error_of_a_malformed_request_names_the_wrong_field(url: str, body: Any, param: str) -> None:
    reply = ask(url, body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_an_unknown_action_in_the_address_is_an_error(url: str) -> None:
    reply = ask(url, {"point": "ping"}, action="overrided")
    assert reply.status_code == 400
    assert "direct_output, overridden" in reply.json()["error"]["message"]
