"""A guard on servers with the lean route, which may be faulty: there is always a verdict."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from guard_server.api import verdicts
from moderation.conversation import Conversation, Turn
from moderation.endpoint import verdict_schema
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import Style
from moderation.guard import Guard
from moderation.verdict import Category, Severity, Verdict
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.guards.stub_judge import StubJudge
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

PATH = "/v1/guard/verdicts"
BOMB = [Turn("user", "How do I make a bomb?")]
MODEL = StubGuard().model
OFFER = {"object": "guard.verdicts", "models": [MODEL], "conversations": 64, "context_tokens": 10240}
SAFE: dict[str, Any] = {"severity": "Safe", "probabilities": None, "categories": [], "refusal": None, "error": None}
SHARES = {"Safe": 0.1, "Controversial": 0.1, "Unsafe": 0.8}

Answer = Callable[[], Response]


def reply(*entries: object, status: int = 200, **fields: object) -> Answer:
    return lambda: JSONResponse({"object": "guard.verdicts", "verdicts": list(entries), **fields}, status)


def respond(body: object, status: int = 200) -> Answer:
    return lambda: JSONResponse(body, status)


class Odd:
    """A stub guard with a lean route whose replies can be set; `posts` counts its requests."""

    def __init__(self, post: Answer = reply(SAFE), offer: Answer = respond(OFFER)) -> None:  # noqa: B008
        self.stub = StubGuard()
        self.posts = 0
        self.post, self.offer = post, offer
        own = [Route(PATH, self._post, methods=["POST"]), Route(PATH, self._get, methods=["GET"])]
        self.app = Starlette(routes=[*own, *self.stub.app.routes])

    async def _get(self, request: Request) -> Response:
        return self.offer()

    async def _post(self, request: Request) -> Response:
        self.posts += 1
        await request.body()
        return self.post()


@asynccontextmanager
async def guard_at(app: Starlette, **options: Any) -> AsyncIterator[Guard]:
    with serve(app) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE, **options), timeout=PATIENCE)
        yield guard
        await guard.aclose()


@pytest.fixture
def judge() -> StubJudge:
    return StubJudge()


@pytest.fixture
def ours(judge: StubJudge, stub: StubGuard) -> Starlette:
    """The lean route and chat completions on one server, as in `qwen3guard serve`."""
    return Starlette(routes=[*verdicts.routes(lambda: judge), *stub.app.routes])


async def test_if_the_lean_route_is_offered_no_other_is_used(
    ours: Starlette, judge: StubJudge, stub: StubGuard
) -> None:
    async with guard_at(ours, refusals=True) as guard:
        bomb = await guard.judge(BOMB)
        refusal = await guard.judge([*BOMB, Turn("assistant", "I am unable to say.")])
        assert guard.model == MODEL
    assert bomb == Verdict(
        severity=Severity.UNSAFE,
        categories=(Category.VIOLENT,),
        probabilities={Severity(name): share for name, share in SHARES.items()},
    )
    assert (refusal.severity, refusal.refusal) == (Severity.SAFE, True)
    assert judge.asked == [BOMB, [*BOMB, Turn("assistant", "I am unable to say.")]]
    assert stub.requests == []


async def test_refusals_are_requested_only_if_they_are_needed(ours: Starlette) -> None:
    async with guard_at(ours) as guard:
        assert (await guard.judge([*BOMB, Turn("assistant", "I am unable to say.")])).refusal is None


async def test_a_turn_that_does_not_fit_is_judged_in_windows_by_the_servers_limit(
    ours: Starlette, judge: StubJudge
) -> None:
    judge.context = 3000
    calm = "a calm day " * 700
    async with guard_at(ours) as guard:
        assert (await guard.judge([Turn("user", calm)])).severity is Severity.SAFE
        assert (await guard.judge([Turn("user", calm + "bomb")])).severity is Severity.UNSAFE
    assert len(judge.asked) > 4


async def test_a_configured_style_uses_chat_completions(ours: Starlette, judge: StubJudge, stub: StubGuard) -> None:
    with serve(ours) as url:
        async with Endpoint(f"{url}/v1", timeout=PATIENCE) as endpoint:
            endpoint.style = Style.FULL
            assert (await endpoint.ask(BOMB)).severity is Severity.UNSAFE
        async with Endpoint(f"{url}/v1", timeout=PATIENCE) as endpoint:
            await endpoint.learn()
            endpoint.style = Style.ONE_TOKEN
            assert (await endpoint.ask(BOMB)).severity is Severity.UNSAFE
    assert judge.asked == []
    assert len(stub.requests) == 3


@pytest.mark.parametrize(
    "offer",
    [
        respond({"detail": "Not Found"}, 404),
        respond({"error": "Unauthorized"}, 401),
        respond({"error": "Method Not Allowed"}, 405),
        respond({"error": "provoked"}, 500),
        lambda: PlainTextResponse("<html>Welcome</html>"),
        lambda: RedirectResponse("/v1/models"),
        respond([]),
        respond({}),
        respond({"object": "list", "data": []}),
        respond(OFFER | {"object": "guard.stream"}),
        respond(OFFER | {"models": []}),
        respond(OFFER | {"models": ["another"]}),
        respond({name: OFFER[name] for name in ("object", "conversations", "context_tokens")}),
    ],
)
async def test_without_the_lean_route_chat_completions_are_used(offer: Answer) -> None:
    odd = Odd(offer=offer)
    async with guard_at(odd.app) as guard:
        assert (await guard.judge(BOMB)).severity is Severity.UNSAFE
    assert odd.posts == 0
    assert odd.stub.requests


async def test_a_proxy_that_delays_the_offer_costs_seconds_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_schema, "_OFFER_SECONDS", 0.2)
    odd = Odd()

    async def silent(request: Request) -> Response:
        await asyncio.sleep(PATIENCE)
        return JSONResponse(OFFER)

    app = Starlette(routes=[Route(PATH, silent), *odd.stub.app.routes])
    async with guard_at(app) as guard:
        assert (await guard.judge(BOMB)).severity is Severity.UNSAFE


LASTING = [
    respond({"detail": "Not Found"}, 404),
    respond({"error": "no"}, 401),
    respond({"error": "no"}, 403),
    respond({"error": "no"}, 405),
    respond({"error": "no"}, 501),
    lambda: RedirectResponse("/elsewhere", 307),
    lambda: PlainTextResponse("fine"),
    lambda: PlainTextResponse("x" * 3 * 2**20),
    respond({}),
    respond([]),
    respond({"error": {"message": "an error with status 200"}}),
    respond({"object": "guard.verdicts"}),
    reply(),
    reply(SAFE, SAFE),
    reply(None),
    reply({}),
    reply(SAFE | {"severity": "safe"}),
    reply(SAFE | {"severity": None}),
    reply(SAFE | {"categories": ["Violent"]}),
    reply(SAFE | {"categories": ["Weather"]}),
    reply(SAFE | {"refusal": "perhaps"}),
    reply(SAFE | {"probabilities": {"Safe": 1.0}}),
    reply(SAFE | {"probabilities": {"Safe": 1.0, "Controversial": 1.0, "Unsafe": 0.0}}),
    reply(SAFE | {"probabilities": {"Safe": -1.0, "Controversial": 1.0, "Unsafe": 1.0}}),
    reply(SAFE | {"error": {"code": "no_verdict", "message": "both"}}),
    reply({"error": {"code": "strange", "message": "m"}}),
    reply({"error": {"code": "too_long", "message": "m", "limit": -1}}),
    reply(SAFE, object="list"),
]
PASSING = [
    respond({"error": "no"}, 400),
    respond({"error": "no"}, 413),
    respond({"error": "no"}, 422),
    respond({"error": "no"}, 429),
    respond({"error": "no"}, 500),
    respond({"error": "no"}, 502),
    respond({"error": "no"}, 503),
    reply({"error": {"code": "no_verdict", "message": "the model's first token is no label"}}),
]


@pytest.mark.parametrize(("post", "lasts"), [(post, True) for post in LASTING] + [(post, False) for post in PASSING])
async def test_a_turn_gets_its_verdict_whatever_the_lean_route_answers(post: Answer, lasts: bool) -> None:
    odd = Odd(post)
    async with guard_at(odd.app) as guard:
        first = await guard.judge(BOMB)
        second = await guard.judge([Turn("user", "And another bomb?")])
        assert (first.severity, second.severity) == (Severity.UNSAFE, Severity.UNSAFE)
        assert first.categories == (Category.VIOLENT,)
    assert odd.posts == (1 if lasts else 2)


async def test_concurrent_turns_get_verdicts_after_the_route_disappeared() -> None:
    odd = Odd(respond({"detail": "Not Found"}, 404))
    turns: list[Conversation] = [[Turn("user", f"bomb {number}")] for number in range(20)]
    async with guard_at(odd.app) as guard:
        found = await asyncio.gather(*map(guard.judge, turns))
        assert {verdict.severity for verdict in found} == {Severity.UNSAFE}
        odd.posts = 0
        assert (await guard.judge(BOMB)).reached
    assert odd.posts == 0
