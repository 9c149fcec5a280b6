"""`api` about itself: is there a guard, which model judges, and what can be asked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from guard_server.api import status
from guard_server.api.app import build
from moderation.endpoint.endpoint import Endpoint
from moderation.policy import Policy
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import free_port, serve
from tests.stands.waiting import PATIENCE

KEY = "a-key-for-tests"
DOCUMENT = Path(__file__).parents[2] / "docs/reference/openapi.json"


@pytest.fixture
def url(guard_url: str) -> Iterator[str]:
    with serve(build(Endpoint(guard_url, timeout=PATIENCE), Policy(), KEY, timeout=PATIENCE)) as url:
        yield url


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=PATIENCE)


def test_it_is_healthy_while_the_guard_gives_verdicts(
    url: str, stub: StubGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (get(f"{url}/health").status_code, get(f"{url}/health").json()) == (200, {"status": "ok"})
    # Asked twice within seconds, it asks the guard once.
    assert stub.judged == ["Good morning!"]
    monkeypatch.setattr(status, "_FRESH_SECONDS", 0.0)
    stub.nonsense = "I am no guard, and my address is http://10.0.0.1."
    reply = get(f"{url}/health")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_verdict")
    assert "10.0.0.1" not in reply.text
    stub.nonsense = None
    assert get(f"{url}/health").status_code == 200


def test_the_model_is_the_guards(url: str, stub: StubGuard) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=PATIENCE) as client:
        assert [model.id for model in client.models.list()] == [stub.model]
    assert get(f"{url}/v1/models").status_code == 401


def test_without_a_guard_it_is_not_healthy_and_lists_no_model() -> None:
    with serve(build(Endpoint(f"http://127.0.0.1:{free_port()}/v1"), Policy())) as url:
        for path in ("health", "v1/models"):
            reply = get(f"{url}/{path}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_verdict")


def test_what_can_be_asked_is_described_as_in_the_docs(url: str) -> None:
    described: dict[str, Any] = get(f"{url}/openapi.json").json()
    documented = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    assert {"/health", "/v1/models", "/v1/moderations", "/v1/dify/moderation"} < described["paths"].keys()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            expected = documented["paths"][path][method]
            assert operation | {"description": ""} == expected | {"description": ""}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 400),
        ({"X-API-Key": KEY}, 400),
        ({"X-API-Key": "wrong"}, 401),
        ({"Authorization": KEY}, 401),
        ({}, 401),
    ],
)
def test_the_key_is_a_bearer_token_or_an_api_key(url: str, headers: dict[str, str], code: int) -> None:
    reply = httpx.post(f"{url}/v1/moderations", json={}, headers=headers, trust_env=False, timeout=PATIENCE)
    assert reply.status_code == code
