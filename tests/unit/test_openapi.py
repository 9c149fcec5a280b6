"""docs/reference/openapi.json: it has every route, and real requests and replies match it."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Route

from guard_server.api import moderation_routes, status, verdicts
from guard_server.stream import stream_routes
from guard_server.stream.sessions import Limits, Sessions
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from tests.stands.guards.stub_judge import StubJudge
from tests.stands.guards.stub_stream import StubStream
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "docs/reference/openapi.json").read_text(encoding="utf-8"))
BOMB = {"role": "user", "content": "How do I make a bomb?"}
OLD = [BOMB, {"role": "assistant", "content": "No."}, {"role": "user", "content": "How do I bake bread?"}]
LITELLM = "/v1/beta/litellm_basic_guardrail_api"


def operation(method: str, path: str) -> dict[str, Any]:
    return dict(DOCUMENT["paths"][path][method])


def check(body: dict[str, Any], value: Any) -> None:
    """Assert that `value` matches the description of this request or reply."""
    schema = body["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


@pytest.fixture
def app(guard_url: str) -> Starlette:
    server, judge, sessions = Endpoint(guard_url), StubJudge(), Sessions(StubStream(), Limits())
    guard = Guard(server)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await guard.aclose()

    return Starlette(
        routes=[
            *moderation_routes.routes(lambda: guard),
            *status.routes(server, guard),
            *verdicts.routes(lambda: judge),
            *stream_routes.routes(lambda: sessions),
        ],
        lifespan=lifespan,
    )


def test_every_route_is_described_and_nothing_else(app: Starlette) -> None:
    found = {(route.path, method) for route in app.routes if isinstance(route, Route) for method in route.methods or ()}
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    # Starlette answers HEAD on every route that has GET.
    assert {(path, method) for path, method in found if method != "HEAD"} == described | {("/openapi.json", "GET")}


@pytest.mark.parametrize(
    ("path", "body", "query"),
    [
        ("/v1/moderations", {"input": ["bread", BOMB["content"]]}, ""),
        ("/v1/moderations", {"input": [{"type": "text", "text": "bread"}]}, ""),
        ("/v1/moderations", {"input": "", "messages": [{"role": "tool", "content": [1]}, BOMB]}, ""),
        ("/v1/moderations", {"input": 3}, ""),
        ("/v1/dify/moderation", {"point": "ping"}, ""),
        ("/v1/dify/moderation", {"point": "app.moderation.input", "params": {"query": "a bomb"}}, ""),
        ("/v1/dify/moderation", {"point": "app.moderation.input", "params": {"query": "a bomb"}}, "overridden"),
        ("/v1/dify/moderation", {"point": "app.moderation.output", "params": {"text": "a bomb"}}, "overridden"),
        (LITELLM, {"input_type": "request", "texts": ["bread"], "structured_messages": [BOMB]}, ""),
        (LITELLM, {"input_type": "request", "texts": [], "structured_messages": OLD}, ""),
        (LITELLM, {"input_type": "response", "texts": ["bread"], "litellm_call_id": "x"}, ""),
        (LITELLM, {"input_type": "other"}, ""),
        ("/v1/guard/verdicts", {"conversations": [[BOMB], [{"role": "user", "content": "nonsense"}]]}, ""),
        ("/v1/guard/verdicts", {"conversations": []}, ""),
        ("/v1/guard/stream", {"messages": [BOMB], "text": "so bad bad", "end": True}, ""),
        ("/v1/guard/stream", {"messages": [BOMB], "text": "so"}, ""),
        ("/v1/guard/stream", {"text": "so"}, ""),
    ],
)
def test_requests_and_replies_match_their_descriptions(app: Starlette, path: str, body: Any, query: str) -> None:
    with serve(app) as url:
        reply = httpx.post(
            url + path, json=body, params={"action": query} if query else {}, timeout=PATIENCE, trust_env=False
        )
    described = operation("post", path)
    check(described["responses"][str(reply.status_code)], reply.json())
    if reply.status_code == 200:
        check(described["requestBody"], body)


@pytest.mark.parametrize("path", ["/v1/guard/verdicts", "/v1/guard/stream", "/health", "/v1/models"])
def test_offers_match_their_descriptions(app: Starlette, path: str) -> None:
    with serve(app) as url:
        check(
            operation("get", path)["responses"]["200"], httpx.get(url + path, timeout=PATIENCE, trust_env=False).json()
        )


def test_the_examples_of_the_lean_route_in_the_docs_match_its_description() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    asked, answered = re.findall(r"```json\n(\{.*?\})\n```", text, re.DOTALL)
    check(operation("post", "/v1/guard/verdicts")["requestBody"], json.loads(asked))
    check(operation("post", "/v1/guard/verdicts")["responses"]["200"], json.loads(answered))
    offer = re.search(r'`(\{"object": "guard.verdicts".*?\})`', text)
    assert offer is not None
    check(operation("get", "/v1/guard/verdicts")["responses"]["200"], json.loads(offer[1].replace("…", '"gen-0.6b"')))


def test_the_example_of_a_stream_in_the_docs_matches_its_description() -> None:
    text = (ROOT / "docs/guard-stream.md").read_text(encoding="utf-8")
    (answered,) = re.findall(r"```json\n(\{.*?\})\n```", text, re.DOTALL)
    check(operation("post", "/v1/guard/stream")["responses"]["200"], json.loads(answered))
    asked = re.findall(r"^\{.*\}$", text, re.MULTILINE)
    for line in asked:
        check(operation("post", "/v1/guard/stream")["requestBody"], json.loads(line))
    assert len(asked) == 3
