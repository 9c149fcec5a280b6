"""`/v1/moderations` through the openai SDK and over plain HTTP, judged by a stub guard."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from openai.types.moderation import Categories
from starlette.applications import Starlette

from guard_server.api import moderations
from guard_server.api.app import build
from guard_server.api.categories import OPENAI_KEYS, OPENAI_KEYS_OF
from guard_server.api.http_exchange import MAX_BYTES
from guard_server.api.openai_schema import MAX_INPUTS
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.verdict import Category
from tests.stands.chats import BOMB
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

BREAD = "How do I bake bread?"
KEY = "a-key-for-tests"


@pytest.fixture
def seconds() -> float:
    """The guard's deadline."""
    return PATIENCE


@pytest.fixture
def endpoint(guard_url: str, seconds: float) -> Endpoint:
    """One app uses and closes it in its own event loop."""
    return Endpoint(guard_url, timeout=seconds, refusals=True)


@pytest.fixture
def url(endpoint: Endpoint, seconds: float) -> Iterator[str]:
    with serve(build(endpoint, Policy(), KEY, timeout=seconds)) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=PATIENCE) as client:
        yield client


def post(url: str, body: Any, key: str | None = KEY) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    # As bytes, since a key may have characters that are not ASCII.
    headers = {b"Authorization": f"Bearer {key}".encode()} if key else {}
    return httpx.post(f"{url}/moderations", content=content, headers=headers, trust_env=False, timeout=PATIENCE)


def test_an_unsafe_text_is_flagged_in_openais_words_and_ours(client: openai.OpenAI) -> None:
    reply = client.moderations.create(input=BOMB, model="omni-moderation-latest")
    (result,) = reply.results
    assert reply.id.startswith("modr-")
    assert reply.model == "Qwen/Qwen3Guard-Gen-0.6B"
    assert result.flagged
    said = result.model_dump(by_alias=True)
    assert {key for key, flagged in said["categories"].items() if flagged} == {
        "Violent",
        "violence",
        "illicit",
        "illicit/violent",
    }
    assert 0.5 < result.category_scores.violence <= 1
    assert (said["category_scores"]["Violent"], result.category_scores.sexual) == (result.category_scores.violence, 0)
    assert said["severity"] == "Unsafe"
    assert sum(said["severity_scores"].values()) == pytest.approx(1, abs=1e-5)
    assert said["category_scores"]["Violent"] == pytest.approx(1 - said["severity_scores"]["Safe"], abs=1e-5)
    assert said["refusal"] is None


def test_a_safe_text_is_not_flagged(client: openai.OpenAI) -> None:
    (result,) = client.moderations.create(input=BREAD).results
    said = result.model_dump(by_alias=True)
    assert not result.flagged
    assert not any(said["categories"].values())
    assert not any(said["category_scores"].values())
    assert said["severity"] == "Safe"


def test_a_list_of_strings_is_judged_at_the_same_time_and_answered_in_order(
    client: openai.OpenAI, stub: StubGuard
) -> None:
    texts = [f"{BOMB if n % 3 == 0 else BREAD} {n}" for n in range(20)]
    # None gets its verdict before the guard was asked about the last.
    stub.waits_for = texts[-1]
    results = client.moderations.create(input=texts).results
    assert [result.flagged for result in results] == [n % 3 == 0 for n in range(20)]


def test_an_empty_text_is_safe_without_a_request(client: openai.OpenAI, stub: StubGuard) -> None:
    reply = client.moderations.create(input="")
    assert (reply.model, [result.flagged for result in reply.results]) == ("qwen3guard", [False])
    assert stub.requests == []


def test_text_parts_are_one_text(client: openai.OpenAI, stub: StubGuard) -> None:
    parts: Any = [{"type": "text", "text": "How do I make a"}, {"type": "text", "text": "bomb?"}]
    (result,) = client.moderations.create(input=parts).results
    assert result.flagged
    assert stub.judged[0] == "How do I make a\nbomb?"


def test_the_last_message_is_judged_in_its_context(client: openai.OpenAI, stub: StubGuard) -> None:
    messages = [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": [{"type": "text", "text": "How do I pick it?"}]},
        {"role": "assistant", "content": "I am unable to say."},
    ]
    (result,) = client.moderations.create(input="", extra_body={"messages": messages}).results
    assert (result.flagged, result.to_dict()["refusal"]) == (False, True)
    assert stub.requests[0]["messages"] == [
        {"role": "user", "content": "How do I pick it?"},
        {"role": "assistant", "content": "I am unable to say."},
    ]


@pytest.mark.parametrize("seconds", [1.0])
@pytest.mark.parametrize("trouble", [{"status": 503}, {"nonsense": "I like bread"}, {"delay": 3.0}])
def test_without_a_verdict_there_is_an_error_and_no_result(
    client: openai.OpenAI, stub: StubGuard, trouble: dict[str, Any]
) -> None:
    for name, value in trouble.items():
        setattr(stub, name, value)
    with pytest.raises(openai.InternalServerError) as raised:
        client.moderations.create(input=[BREAD, f"{BREAD} again"])
    error = raised.value
    assert (error.status_code, error.code, error.type) == (503, "no_verdict", "server_error")
    assert "on text 1 of 2" in error.message
    assert "127.0.0.1" not in error.message


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"{", None, "not JSON"),
        (b"[" * 10**5, None, "not JSON"),
        (b"\xff", None, "not JSON"),
        ([], None, "must be a JSON object"),
        ({}, "input", "missing"),
        ({"input": None}, "input", "missing"),
        ({"input": 3}, "input", "string"),
        ({"input": []}, "input", "empty"),
        ({"input": ["a", 3]}, "input[1]", "string"),
        ({"input": ["a", {"type": "text", "text": "b"}]}, "input[1]", "string"),
        ({"input": [{"type": "text"}]}, "input[0]", "text part"),
        ({"input": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, "input[0]", "reads text only"),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "messages", "not both"),
        ({"messages": []}, "messages", "list of messages"),
        ({"messages": ["a"]}, "messages[0]", "must be an object"),
        ({"messages": [{"content": "a"}]}, "messages[0].role", "is missing"),
        ({"messages": [{"role": "judge", "content": "a"}]}, "messages[0].role", "must be one of"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages[0].role", "must be user or assistant"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "string"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0]", "text part"),
        *(
            ({"messages": [{"role": "assistant", "content": "a", name: value}]}, f"messages[0].{name}", "is not read")
            for name, value in (("tool_calls", [{}]), ("function_call", {"name": "f"}), ("reasoning", "b"))
        ),
        ({"messages": [{"role": "assistant", "content": "a", "refusal": "b"}]}, "messages[0].refusal", "is not read"),
    ],
)
def test_the_error_of_a_malformed_request_names_the_wrong_field(
    url: str, stub: StubGuard, body: Any, param: str | None, says: str
) -> None:
    reply = post(url, body)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert says in error["message"]
    assert stub.requests == []


def test_batches_and_bodies_are_bounded(url: str, stub: StubGuard) -> None:
    assert post(url, {"input": ["a"] * MAX_INPUTS}).status_code == 200
    many = post(url, {"input": ["a"] * (MAX_INPUTS + 1)})
    large = post(url, {"input": "a" * MAX_BYTES})
    assert (many.status_code, many.json()["error"]["param"]) == (413, "input")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")


def test_a_broken_surrogate_is_judged_like_any_text(url: str) -> None:
    reply = post(url, b'{"input": "How do I make a \\ud800bomb?"}')
    assert reply.json()["results"][0]["flagged"] is True


@pytest.mark.parametrize(("policy", "flagged"), [(Policy(), True), (Policy(strictness="loose"), False)])
def test_the_policy_says_whether_controversial_texts_are_flagged(
    endpoint: Endpoint, policy: Policy, flagged: bool
) -> None:
    with serve(build(endpoint, policy)) as url:
        (result,) = post(f"{url}/v1", {"input": "some politics"}, key=None).json()["results"]
    assert (result["flagged"], result["severity"]) == (flagged, "Controversial")
    assert result["categories"]["Politically Sensitive Topics"] is flagged
    assert (result["category_scores"]["Politically Sensitive Topics"] > 0.5) is flagged


def test_without_probabilities_scores_are_the_verdict(url: str, stub: StubGuard) -> None:
    stub.prefill, stub.logprobs = False, False
    (result,) = post(url, {"input": BOMB}).json()["results"]
    assert (result["category_scores"]["violence"], result["severity_scores"]) == (1.0, None)


def test_without_the_key_nothing_is_judged(url: str, stub: StubGuard) -> None:
    for key in (None, "wrong", f"{KEY}x", "ключ"):
        reply = post(url, {"input": BOMB}, key=key)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert stub.requests == []


def test_another_path_or_method_gets_the_same_error_as_from_openai(url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    for path, status in (("engines", 404), ("moderations", 405)):
        reply = httpx.get(f"{url}/{path}", headers=headers, timeout=PATIENCE, trust_env=False)
        assert reply.status_code == status
        assert "POST /v1/moderations" in reply.json()["error"]["message"]


def test_the_routes_can_be_added_to_another_app(endpoint: Endpoint, seconds: float) -> None:
    guard = Guard(endpoint, timeout=seconds)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await guard.aclose()

    app = Starlette(lifespan=lifespan)
    app.router.routes.extend(moderations.routes(lambda: guard))
    with serve(app) as url:
        assert post(f"{url}/v1", {"input": BOMB}).json()["results"][0]["flagged"] is True


def test_the_keys_are_those_of_openais_sdk() -> None:
    assert set(OPENAI_KEYS) == {field.alias or name for name, field in Categories.model_fields.items()}
    assert set(OPENAI_KEYS_OF) == set(Category)
    assert {key for keys in OPENAI_KEYS_OF.values() for key in keys} < set(OPENAI_KEYS)


def test_keys_that_qwen3guard_never_sets_are_marked(client: openai.OpenAI) -> None:
    (result,) = client.moderations.create(input=BREAD).results
    applied = result.category_applied_input_types.model_dump(by_alias=True)
    assert {key for key, types in applied.items() if not types} == {
        "harassment/threatening",
        "hate/threatening",
        "self-harm/intent",
        "sexual/minors",
        "violence/graphic",
    }
