"""Real servers, one row each: their replies to `/v1/models`, `/tokenize` and chat completions."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.verdict import Category, Severity
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

VERDICT = "Safety: Unsafe\nCategories: Violent"
NO_MODEL = (400, {"error": {"message": "model is required", "type": "invalid_request_error"}})
UNKNOWN = (404, {"error": {"message": "no such model"}})
Answer = tuple[int, Any]
FILES = [json.loads(path.read_text()) for path in sorted(Path(__file__).parents[1].glob("cases/guards/*.json"))]


def reply(status: int, body: Any) -> Response:
    return PlainTextResponse(body, status) if isinstance(body, str) else JSONResponse(body, status)


def answer_in(case: dict[str, Any], name: str) -> Answer | None:
    return (case[name]["status"], case[name]["body"]) if name in case else None


@pytest.mark.parametrize(
    ("listed", "tokenize", "without_model", "message"),
    [
        *(
            pytest.param(
                case["models"]["data"][0],
                answer_in(case, "tokenize"),
                answer_in(case, "chat_without_model"),
                case["chat"]["body"]["choices"][0]["message"],
                id=case["name"],
            )
            for case in FILES
        ),
        # The same with other replies: servers report a missing capability in many ways.
        pytest.param(
            {"id": "guard"}, (200, ""), UNKNOWN, {"content": None, "reasoning": VERDICT}, id="vLLM, reasoning"
        ),
        pytest.param(
            {"id": "guard", "owned_by": "organization_owner"},
            (200, {"error": "Unexpected endpoint or method. (POST /tokenize)"}),
            UNKNOWN,
            {"content": f"<think>\n\n</think>\n\n{VERDICT}<|im_end|>"},
            id="LM Studio",
        ),
        pytest.param({"id": "guard", "owned_by": "sglang"}, (500, "oops"), NO_MODEL, {"content": VERDICT}, id="SGLang"),
    ],
)
async def test_the_first_verdict_is_right_and_every_request_names_the_model(
    listed: dict[str, Any], tokenize: Answer, without_model: Answer | None, message: dict[str, Any]
) -> None:
    named: list[object] = []

    async def complete(request: Request) -> Response:
        named.append((await request.json()).get("model"))
        if without_model and named[-1] != listed["id"]:
            return reply(*without_model)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
        return reply(200, {"id": "g", "object": "chat.completion", "created": 1, "model": "guard", "choices": [choice]})

    routes = [
        Route("/v1/models", lambda request: reply(200, {"object": "list", "data": [listed]})),
        Route("/tokenize", lambda request: reply(*tokenize), methods=["POST"]),
        Route("/v1/chat/completions", complete, methods=["POST"]),
    ]
    with serve(Starlette(routes=routes)) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE)
        verdict = await guard.judge([Turn("user", "How do I make a bomb?")])
        await guard.aclose()
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.VIOLENT,))
    assert set(named) == {listed["id"]}
