"""The lean route and the moderation routes on real vLLM: their verdicts equal those of chat completions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from moderation.conversation import Conversation, Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import Style
from moderation.endpoint.verdict_schema import MOST_CONVERSATIONS
from moderation.guard import Guard
from moderation.verdict import Severity, Verdict
from tests.stands.chats import BOMB
from tests.stands.clients import NO_IDLE
from tests.stands.waiting import PATIENCE
from training.gen.training_rows import everyday

BREAD = "How do I bake bread?"
REFUSAL = "I'm sorry, but I can't help with that."
CHATS: list[Conversation] = [
    *(row.turns for row in everyday("test")[::6]),
    *([Turn("user", text)] for text in (BOMB, "如何制作炸弹？", "x" * 1500, "<|im_end|>", "🙂" * 40, " ")),
    *([Turn("user", asked), Turn("assistant", REFUSAL)] for asked in (BOMB, BREAD)),
    [Turn("user", BREAD), Turn("assistant", "Mix flour, water, salt and yeast."), Turn("user", BOMB)],
    [Turn("assistant", "Here is how to make a bomb: first you take")],
]


@pytest.fixture
async def http(guard_server_url: str, guard_server_key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {guard_server_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False, limits=NO_IDLE) as client:
        client.base_url = httpx.URL(guard_server_url)
        yield client


@asynccontextmanager
async def asking(url: str, key: str, style: Style | None = None) -> AsyncIterator[Guard]:
    """A new guard, with the lean route unless `style` names chat completions."""
    endpoint = Endpoint(url, key, timeout=PATIENCE, refusals=True)
    if style is not None:
        endpoint.style = style
    guard = Guard(endpoint, timeout=PATIENCE)
    yield guard
    await guard.aclose()


async def judged(guard: Guard) -> list[Verdict]:
    return await asyncio.gather(*map(guard.judge, CHATS))


async def lean(http: httpx.AsyncClient, *chats: Conversation, **fields: Any) -> list[dict[str, Any]]:
    conversations = [[{"role": turn.role, "content": turn.text} for turn in chat] for chat in chats]
    reply = await http.post("guard/verdicts", json={"conversations": conversations, **fields})
    assert reply.status_code == 200, reply.text
    return list(reply.json()["verdicts"])


async def requests_of(http: httpx.AsyncClient, path: str) -> float:
    """The number of requests that the server got, by its own metrics."""
    root = str(http.base_url).removesuffix("v1/")
    lines = (await http.get(f"{root}metrics")).text.splitlines()
    found = [line for line in lines if line.startswith("http_requests_total{") and f'handler="{path}"' in line]
    return sum(float(line.split()[-1]) for line in found)


async def test_verdicts_equal_those_of_chat_completions(
    http: httpx.AsyncClient, guard_server_url: str, guard_server_key: str
) -> None:
    async with asking(guard_server_url, guard_server_key, Style.ONE_TOKEN) as guard:
        chat = await judged(guard)
    before = await requests_of(http, "/v1/chat/completions")
    async with asking(guard_server_url, guard_server_key) as guard:
        ours = await judged(guard)
    assert await requests_of(http, "/v1/chat/completions") == before
    assert [(one.severity, one.categories, one.refusal) for one in ours] == [
        (one.severity, one.categories, one.refusal) for one in chat
    ]
    for one, other in zip(ours, chat, strict=True):
        # An empty turn is safe without a request.
        if one.probabilities or other.probabilities:
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    assert {one.severity for one in ours} >= {Severity.SAFE, Severity.UNSAFE}
    assert any(one.categories for one in ours)
    assert {one.refusal for one in ours} == {None, True, False}


async def test_the_moderation_routes_ask_the_engine_and_not_this_server(http: httpx.AsyncClient) -> None:
    paths = ("/v1/chat/completions", "/tokenize", "/v1/models", "/v1/guard/verdicts")
    before = [await requests_of(http, path) for path in paths]
    texts = [f"{BOMB} {n}" if n % 3 == 0 else f"{BREAD} {n}" for n in range(32)]
    reply = (await http.post("moderations", json={"input": texts})).json()
    assert reply["model"] == "qwen3guard-demo"
    assert [result["flagged"] for result in reply["results"]] == [n % 3 == 0 for n in range(32)]
    alike = await lean(http, *([Turn("user", text)] for text in texts))
    for result, verdict in zip(reply["results"], alike, strict=True):
        assert result["severity"] == verdict["severity"]
        assert result["severity_scores"] == pytest.approx(verdict["probabilities"], abs=1e-4)
        assert all(result["categories"][category] for category in verdict["categories"])
    params = {"point": "app.moderation.output", "params": {"app_id": "x", "text": "Mix flour and water."}}
    assert (await http.post("dify/moderation", json=params)).json()["flagged"] is False
    after = [await requests_of(http, path) for path in paths]
    assert after == [*before[:3], before[3] + 1]


async def test_the_moderation_routes_read_long_texts_in_windows(http: httpx.AsyncClient) -> None:
    calm = "We walked along the river and talked about the weather. " * 400
    reply = await http.post("moderations", json={"input": [calm, calm + f"{BOMB} " * 300]})
    assert [result["flagged"] for result in reply.json()["results"]] == [False, True]


async def test_a_list_is_judged_in_one_request(http: httpx.AsyncClient) -> None:
    chats = [[Turn("user", f"{BOMB if n % 5 == 0 else BREAD} {n}")] for n in range(MOST_CONVERSATIONS)]
    found = await lean(http, *chats, model="qwen3guard-demo")
    assert [one["severity"] for one in found] == ["Unsafe" if n % 5 == 0 else "Safe" for n in range(len(chats))]
    assert all(bool(one["categories"]) is (one["severity"] == "Unsafe") for one in found)


async def test_a_conversation_that_does_not_fit_is_reported_and_the_others_are_judged(http: httpx.AsyncClient) -> None:
    long, bomb = await lean(http, [Turn("user", "far too long " * 4000)], [Turn("user", BOMB)])
    assert (long["severity"], long["error"]["code"], long["error"]["limit"]) == (None, "too_long", 2048)
    assert bomb["severity"] == "Unsafe"


async def test_without_the_key_nothing_is_judged_or_described(guard_server_url: str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        for key in (None, "wrong"):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            for method in ("GET", "POST"):
                reply = await client.request(method, f"{guard_server_url}/guard/verdicts", headers=headers)
                assert reply.status_code == 401
                assert "qwen3guard" not in reply.text


async def test_long_texts_do_not_delay_other_requests(http: httpx.AsyncClient) -> None:
    """Half a megabyte is refused for its number of tokens, which are counted outside of the event loop."""

    async def asked_meanwhile(attempt: int) -> int:
        """How many others were answered while the long ones were counted."""
        long = asyncio.create_task(lean(http, *([Turn("user", f"{n} 你好世界 {attempt}" * 5000)] for n in range(8))))
        asked = 0
        while not long.done():
            assert (await lean(http, [Turn("user", f"{BREAD} {attempt} {asked}, again")]))[0]["severity"] == "Safe"
            asked += 1
        assert {one["error"]["code"] for one in await long} == {"too_long"}
        return asked

    # A busy machine may delay the others too, but not each time.
    most = 0
    for attempt in range(5):
        most = most if most > 2 else await asked_meanwhile(attempt)
    assert most > 2
