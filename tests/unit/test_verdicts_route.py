"""`/v1/guard/verdicts` over real HTTP, with a stub judge."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from guard_server.api import verdicts
from guard_server.api.http_exchange import MAX_BYTES
from moderation.endpoint.verdict_schema import MOST_CONVERSATIONS
from tests.stands.chats import assistant, user
from tests.stands.guards.stub_judge import StubJudge
from tests.stands.waiting import PATIENCE, until

PATH = "/v1/guard/verdicts"


class Served:
    """The route in this event loop, so that a test can see its judge."""

    def __init__(self, **limits: int) -> None:
        self.judge = StubJudge()
        # Bound here, so that no other test can take the port before the server does.
        self.listening = socket.create_server(("127.0.0.1", 0))
        port = self.listening.getsockname()[1]
        app = Starlette(routes=verdicts.routes(lambda: self.judge, **limits))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE)

    async def post(self, *conversations: list[dict[str, str]], **fields: Any) -> list[dict[str, Any]]:
        reply = await self.http.post(PATH, json={"conversations": conversations, **fields})
        assert reply.status_code == 200, reply.text
        assert reply.json()["object"] == "guard.verdicts"
        return list(reply.json()["verdicts"])


@asynccontextmanager
async def serving(**limits: int) -> AsyncIterator[Served]:
    served = Served(**limits)
    running = asyncio.create_task(served.server.serve(sockets=[served.listening]))
    while not served.server.started:
        await asyncio.sleep(0.01)
    yield served
    served.judge.gate.set()
    await served.http.aclose()
    served.server.should_exit = True
    await running
    served.listening.close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


async def test_one_conversation_gets_a_whole_verdict(served: Served) -> None:
    (verdict,) = await served.post([user("How do I make a bomb?")])
    assert verdict == {
        "severity": "Unsafe",
        "probabilities": {"Safe": 0.1, "Controversial": 0.1, "Unsafe": 0.8},
        "categories": ["Violent"],
        "refusal": None,
        "prompt_tokens": None,
        "error": None,
    }


async def test_a_list_is_answered_in_its_order_and_each_with_its_context(served: Served) -> None:
    chats = [[user(f"Number {n}"), assistant("A bomb." if n % 3 == 0 else "I am unable.")] for n in range(40)]
    found = await served.post(*chats, refusals=True)
    assert [one["severity"] for one in found] == ["Unsafe" if n % 3 == 0 else "Safe" for n in range(40)]
    assert [one["refusal"] for one in found] == [n % 3 != 0 for n in range(40)]
    assert sorted(len(turns) for turns in served.judge.asked) == [2] * 40


async def test_refusals_are_reported_if_they_are_asked_for(served: Served) -> None:
    chat = [user("Help me"), assistant("I am unable.")]
    assert (await served.post(chat))[0]["refusal"] is None
    assert (await served.post(chat, refusals=True))[0]["refusal"] is True
    assert (await served.post(chat[:1], refusals=True))[0]["refusal"] is None


async def test_a_conversation_without_a_verdict_has_a_reason_and_the_others_have_verdicts(served: Served) -> None:
    texts = ["bread", "x" * 20_000, "nonsense", "crash", "a bomb"]
    bread, long, odd, failed, bomb = await served.post(*([user(text)] for text in texts))
    assert (bread["severity"], bomb["severity"]) == ("Safe", "Unsafe")
    assert (long["severity"], long["error"]["code"], long["error"]["limit"]) == (None, "too_long", 10240)
    assert [one["error"]["code"] for one in (odd, failed)] == ["no_verdict", "no_verdict"]
    assert odd["error"]["message"] == "the model's first token is no label"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[" * 10**5, 400, None),
        ([], 400, None),
        ({}, 400, "conversations"),
        ({"conversations": []}, 400, "conversations"),
        ({"conversations": {}}, 400, "conversations"),
        ({"conversations": [[]]}, 400, "conversations[0]"),
        ({"conversations": [user("a")]}, 400, "conversations[0]"),
        ({"conversations": [[user("a")], "a"]}, 400, "conversations[1]"),
        ({"conversations": [["a"]]}, 400, "conversations[0][0]"),
        ({"conversations": [[{"role": "system", "content": "a"}]]}, 400, "conversations[0][0].role"),
        ({"conversations": [[{"role": "user"}]]}, 400, "conversations[0][0].content"),
        ({"conversations": [[{"role": "user", "content": None}]]}, 400, "conversations[0][0].content"),
        ({"conversations": [[{"role": "user", "content": ["a"]}]]}, 400, "conversations[0][0].content"),
        ({"conversations": [[user("a") | {"name": "b"}]]}, 400, "conversations[0][0].name"),
        ({"conversations": [[user("a")]], "refusals": 1}, 400, "refusals"),
        ({"conversations": [[user("a")]], "refusal": True}, 400, "refusal"),
        ({"conversations": [[user("a")]], "model": "another"}, 404, "model"),
        ({"conversations": [[user("a")]] * (MOST_CONVERSATIONS + 1)}, 400, "conversations"),
        (b'{"conversations": [[{"role": "user", "content": "\\ud800"}]]}', 400, None),
        ({"conversations": [[user("a" * MAX_BYTES)]]}, 413, None),
    ],
)
async def test_the_error_of_a_malformed_request_says_what_is_wrong(
    served: Served, body: Any, status: int, param: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await served.http.post(PATH, content=content)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param)
    assert error["message"]
    assert len(error["message"]) < 300
    assert served.judge.asked == []


async def test_the_largest_list_is_judged(served: Served) -> None:
    chats = [[user(f"bread {n}")] for n in range(MOST_CONVERSATIONS)]
    assert len(await served.post(*chats, model=served.judge.models[0])) == MOST_CONVERSATIONS


async def test_get_describes_the_route(served: Served) -> None:
    reply = await served.http.get(PATH)
    assert reply.json() == {
        "object": "guard.verdicts",
        "models": ["Qwen/Qwen3Guard-Gen-0.6B"],
        "conversations": MOST_CONVERSATIONS,
        "context_tokens": 10240,
    }


async def test_a_clients_disconnect_cancels_its_judgements(served: Served) -> None:
    served.judge.gate.clear()
    asking = asyncio.create_task(served.post([user("a")], [user("b")]))
    await until(lambda: len(served.judge.asked) == 2)
    asking.cancel()
    await until(lambda: served.judge.cancelled == 2)


async def test_beyond_the_bound_clients_get_busy() -> None:
    async with serving(most_waiting=3) as served:
        served.judge.gate.clear()
        waiting = asyncio.create_task(served.post([user("a")], [user("b")]))
        await until(lambda: len(served.judge.asked) == 2)
        refused = await served.http.post(PATH, json={"conversations": [[user("c")], [user("d")]]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        served.judge.gate.set()
        assert len(await waiting) == 2
        assert len(await served.post([user("c")], [user("d")])) == 2
