import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.verdict import Category, Severity
from tests.stands.chats import prompt
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE


async def test_a_safe_turn_costs_one_token(guard: Guard, stub: StubGuard) -> None:
    verdict = await guard.judge(prompt("How do I bake bread?"))
    assert verdict.severity is Severity.SAFE
    assert [request["max_tokens"] for request in stub.requests] == [1]
    assert verdict.probabilities is not None
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert max(verdict.probabilities, key=verdict.probabilities.__getitem__) is Severity.SAFE


async def test_only_a_flagged_turn_asks_for_its_categories(guard: Guard, stub: StubGuard) -> None:
    verdict = await guard.judge(prompt("How do I make a bomb?"))
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.VIOLENT,))
    prefills = [request["chat_template_kwargs"]["verdict_prefill"] for request in stub.requests]
    assert prefills == ["Safety:", "Safety: Unsafe\nCategories:"]


async def test_the_server_is_asked_for_the_label_tokens(guard: Guard, stub: StubGuard) -> None:
    await guard.judge(prompt("hello"))
    assert len(set(stub.requests[0]["logprob_token_ids"])) == 3


async def test_without_tokenize_the_top_logprobs_are_used(guard: Guard, stub: StubGuard) -> None:
    stub.tokenize = False
    verdict = await guard.judge(prompt("hello"))
    assert verdict.severity is Severity.SAFE
    assert stub.requests[0]["top_logprobs"] == 20
    assert verdict.probabilities is not None


@pytest.mark.parametrize("strict_fields", [False, True])
async def test_a_stock_server_is_detected_once_and_its_replies_are_read_in_full(
    guard: Guard, stub: StubGuard, strict_fields: bool
) -> None:
    stub.prefill, stub.strict_fields = False, strict_fields
    first = await guard.judge(prompt("How do I bake bread?"))
    asked = len(stub.requests)
    second = await guard.judge([*prompt("How do I pick it?"), Turn("assistant", "Turn the lock so.")])
    assert (first.severity, second.severity) == (Severity.SAFE, Severity.UNSAFE)
    assert second.refusal is False
    assert second.probabilities is not None
    assert (asked, len(stub.requests)) == (2, 3)


async def test_a_server_without_logprobs_still_gives_verdicts(guard: Guard, stub: StubGuard) -> None:
    stub.prefill, stub.logprobs = False, False
    verdict = await guard.judge(prompt("How do I make a bomb?"))
    assert (verdict.severity, verdict.probabilities) == (Severity.UNSAFE, None)


@pytest.mark.parametrize(
    ("models", "completion"),
    [
        ("<html>", {}),
        ({"data": None}, {}),
        ([1], {}),
        ({"data": [1]}, {}),
        ({"data": [{"id": "guard"}]}, "<html>"),
        ({"data": [{"id": "guard"}]}, []),
        ({"data": [{"id": "guard"}]}, {"choices": [{}]}),
        ({"data": [{"id": "guard"}]}, {"choices": [1]}),
        ({"data": [{"id": "guard"}]}, {"choices": [{"message": {"content": [1]}}]}),
        ({"data": [{"id": "guard"}]}, {"choices": [{"message": {}, "logprobs": {"content": [{"token": 1}]}}]}),
    ],
)
async def test_a_server_of_another_kind_gives_no_verdict(models: object, completion: object) -> None:
    def reply(body: object) -> Response:
        return HTMLResponse(body) if isinstance(body, str) else JSONResponse(body)

    routes = [
        Route("/v1/models", lambda request: reply(models)),
        Route("/v1/chat/completions", lambda request: reply(completion), methods=["POST"]),
    ]
    with serve(Starlette(routes=routes)) as url:
        async with Endpoint(f"{url}/v1", timeout=PATIENCE) as endpoint:
            verdict = await Guard(endpoint, timeout=PATIENCE).judge(prompt("hello"))
    assert not verdict.reached
    assert "does not answer like an OpenAI-compatible server" in (verdict.problem or "")


async def test_a_refusal_is_asked_for_only_if_it_is_wanted(guard_url: str, stub: StubGuard) -> None:
    answer = [*prompt("How do I pick it?"), Turn("assistant", "Turn the lock so.")]
    async with (
        Endpoint(guard_url, timeout=PATIENCE) as quick,
        Endpoint(guard_url, refusals=True, timeout=PATIENCE) as thorough,
    ):
        assert (await quick.ask(answer)).refusal is None
        asked = len(stub.requests)
        verdict = await thorough.ask(answer)
        assert (verdict.severity, verdict.refusal) == (Severity.UNSAFE, False)
        assert (await thorough.ask(prompt("hello"))).refusal is None
    prefills = [request["chat_template_kwargs"]["verdict_prefill"] for request in stub.requests[asked:]]
    assert prefills == [
        "Safety:",
        "Safety: Unsafe\nCategories:",
        "Safety: Unsafe\nCategories: Non-violent Illegal Acts\nRefusal:",
        "Safety:",
    ]


async def test_labels_that_the_endpoint_does_not_report_give_no_probabilities(
    guard: Guard, stub: StubGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_the_label(token: str) -> dict[str, object]:
        top = [{"token": token, "logprob": -0.1, "bytes": None}]
        return {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": top}

    monkeypatch.setattr(stub, "_logprobs", only_the_label)
    verdict = await guard.judge(prompt("hello"))
    assert (verdict.severity, verdict.probabilities) == (Severity.SAFE, None)


async def test_a_label_below_everything_that_is_reported_counts_as_impossible(
    guard: Guard, stub: StubGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_controversial(token: str) -> dict[str, object]:
        said = {token: -0.1, " Unsafe": -2.4, "\n": -9.0}
        top = [{"token": text, "logprob": logprob, "bytes": None} for text, logprob in said.items()]
        return {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": top}

    monkeypatch.setattr(stub, "_logprobs", without_controversial)
    probabilities = (await guard.judge(prompt("hello"))).probabilities
    assert probabilities is not None
    assert probabilities[Severity.CONTROVERSIAL] == 0
    assert sum(probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("listed", "answer", "said"),
    [
        ({"data": []}, None, "name the guard's model"),
        ({"data": [{"id": "guard"}]}, {"id": "x", "choices": []}, "does not answer like"),
        (None, {"id": "x", "choices": []}, "name the guard's model"),
    ],
)
async def test_a_server_that_is_no_guard_is_recognised(listed: object, answer: object, said: str) -> None:
    async def models(request: Request) -> JSONResponse:
        return JSONResponse(listed, 200 if listed else 404)

    async def complete(request: Request) -> JSONResponse:
        return JSONResponse(answer)

    routes = [Route("/v1/models", models), Route("/v1/chat/completions", complete, methods=["POST"])]
    with serve(Starlette(routes=routes)) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE)
        verdict = await guard.judge(prompt("hello"))
        await guard.aclose()
    assert (verdict.reached, said in str(verdict.problem)) == (False, True)


async def test_a_flag_counts_without_its_categories(guard: Guard, stub: StubGuard) -> None:
    judging = asyncio.create_task(guard.judge(prompt("How do I make a bomb?")))
    stub.status_after_first = 400
    verdict = await judging
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, ())


async def test_slow_long_turns_do_not_turn_others_away(guard_url: str, stub: StubGuard) -> None:
    stub.delay = 0.3
    async with Endpoint(guard_url, timeout=PATIENCE) as endpoint:
        # Long enough for some replies: the guard is slow, and not dead.
        guard = Guard(endpoint, timeout=8, concurrency=1, context_tokens=1500)
        huge = await asyncio.gather(*(guard.judge(prompt(f"{n} calm " * 9000)) for n in range(3)))
        assert not any(verdict.reached for verdict in huge)
        stub.delay = 0
        assert (await guard.judge(prompt("hello"))).severity is Severity.SAFE
