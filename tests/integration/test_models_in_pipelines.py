"""Guarded models in the real Pipelines server, as an API client sees them through the `openai` SDK."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, CALM, user
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.processes.guarded_server import MODEL, GuardedServer
from tests.stands.processes.pipelines_server import KEY, PipelinesServer
from tests.stands.waiting import PATIENCE, until

EN = TEXTS["en"]


@pytest.fixture
def server(guarded: GuardedServer) -> PipelinesServer:
    return guarded.pipelines


@pytest.fixture
def guard(guarded: GuardedServer) -> StubGuard:
    return guarded.guard


@pytest.fixture
def upstream(guarded: GuardedServer) -> StubModel:
    return guarded.upstream


@pytest.fixture
async def client(server: PipelinesServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY, timeout=PATIENCE, max_retries=0) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, text: str = "hi", **more: Any) -> Any:
    messages: Any = [user(text)]
    return await client.chat.completions.create(model=MODEL, messages=messages, **more)


async def test_the_models_are_listed(client: openai.AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert listed == ["qwen3guard_models.llama3:8b", MODEL]


async def test_a_safe_answer_streams_whole(client: openai.AsyncOpenAI, upstream: StubModel) -> None:
    upstream.says(CALM * 3)
    upstream.delay = 0.005
    chunks = [chunk async for chunk in await ask(client, stream=True, stream_options={"include_usage": True})]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == CALM * 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 3
    assert upstream.requests[-1]["model"] == "qwen/qwen3"


async def test_the_end_of_a_stream_is_sent_once(guarded: GuardedServer) -> None:
    text = (await guarded.ask()).raw
    assert text.count("[DONE]") == 1
    assert text.count('"finish_reason": "stop"') == 1


async def test_a_safe_answer_arrives_unstreamed(client: openai.AsyncOpenAI) -> None:
    reply = await ask(client, stream=False)
    assert (reply.choices[0].message.content, reply.usage.total_tokens) == ("Hello there, my friend.", 3)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_prompt_is_answered_by_the_notice(guarded: GuardedServer, stream: bool) -> None:
    text = (await guarded.ask(BOMB, stream=stream)).raw
    assert EN["prompt_refused"] in text
    assert "content_filter" in text


@pytest.mark.parametrize("stream", [True, False])
async def test_no_byte_of_an_unsafe_answer_is_sent(guarded: GuardedServer, upstream: StubModel, stream: bool) -> None:
    upstream.says(CALM + "Then build the bomb so. " + CALM)
    upstream.delay = 0.01
    text = (await guarded.ask(stream=stream)).raw
    assert "bomb" not in text
    assert EN["answer_withheld"] in text
    await until(lambda: upstream.streaming == 0)


async def test_a_tool_call_reaches_the_client_completely(client: openai.AsyncOpenAI, upstream: StubModel) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "sea"}'}}
    upstream.deltas, upstream.finish = [{"tool_calls": [call]}], "tool_calls"
    chunks = [chunk async for chunk in await ask(client, stream=True)]
    (got,) = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert (got.id, got.function.name, json.loads(got.function.arguments)) == ("c", "f", {"a": "sea"})
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_an_upstreams_error_keeps_its_status(
    client: openai.AsyncOpenAI, upstream: StubModel, status: int
) -> None:
    upstream.status, upstream.error = status, "provoked by sk-secret"
    with pytest.raises(openai.APIStatusError) as unstreamed:
        await ask(client, stream=False)
    assert unstreamed.value.status_code == status
    with pytest.raises(openai.APIError, match=f"{status}") as streamed:
        _ = [chunk async for chunk in await ask(client, stream=True)]
    assert "sk-secret" not in str(unstreamed.value) + str(streamed.value)


@pytest.mark.parametrize("trouble", ["hangs", "aborts"])
async def test_a_failing_upstream_ends_the_answer_with_a_readable_error(
    client: openai.AsyncOpenAI, guarded: GuardedServer, upstream: StubModel, trouble: str
) -> None:
    upstream.says(CALM)
    upstream.wait, upstream.abort_after = (PATIENCE, None) if trouble == "hangs" else (0, 12)
    said = ""

    async def read() -> None:
        nonlocal said
        async for chunk in await ask(client, stream=True):
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""

    with (
        guarded.valves(**{"upstream_timeout_seconds": 1} if trouble == "hangs" else {}),
        pytest.raises(openai.APIError, match="Please try again"),
    ):
        await read()
    assert CALM.startswith(said)
    assert bool(said) is (trouble == "aborts")


async def test_if_the_guard_dies_during_a_stream_the_rest_is_withheld(
    client: openai.AsyncOpenAI, guarded: GuardedServer, upstream: StubModel, guard: StubGuard
) -> None:
    upstream.says(CALM * 20)
    # The rest comes when the guard fails.
    upstream.stops_after = 20
    said, finish = "", None
    # With settings of its own: a guard that failed is not asked for a while, and this one by no other test.
    with guarded.valves(timeout_seconds=PATIENCE - 1):
        async for chunk in await ask(client, stream=True):
            if said:
                guard.status, upstream.stops_after = 500, None
            said += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason
    assert said.endswith(EN["not_checked"])
    assert finish == "content_filter"


async def leave(guarded: GuardedServer, text: str = "hi") -> None:
    """Ask for a stream, and close the connection when something has arrived while the upstream writes."""
    async with guarded.asking(text) as received:
        await until(lambda: received.raw and guarded.upstream.streaming)


@pytest.mark.parametrize("held", [False, True])
async def test_a_client_that_leaves_ends_the_upstream_long_before_its_own_end(
    guarded: GuardedServer, upstream: StubModel, guard: StubGuard, held: bool
) -> None:
    upstream.says(CALM * 300)
    upstream.delay = 0.05
    guard.silent_about = "hi there"
    await leave(guarded, "hi there" if held else "hi")
    await until(lambda: upstream.streaming == 0)
    assert upstream.whole == [False]


async def test_two_hundred_clients_that_leave_keep_no_resources(guarded: GuardedServer, upstream: StubModel) -> None:
    upstream.says(CALM * 100)
    upstream.delay = 0.1
    process = Path(f"/proc/{guarded.pipelines.process.pid}")

    def held() -> int:
        """Threads and open files of the server."""
        return sum(len(list((process / kind).iterdir())) for kind in ("task", "fd"))

    async def fifty_leave() -> None:
        await asyncio.gather(*(leave(guarded) for _ in range(50)))
        await until(lambda: upstream.streaming == 0)

    await fifty_leave()
    before = held()
    for _ in range(3):
        await fifty_leave()
    # Its pools of threads and connections may grow a little. One thread or file for each reader would be 150.
    await until(lambda: held() < before + 75)


async def test_the_models_are_listed_long_before_a_hundred_streams_end(
    client: openai.AsyncOpenAI, upstream: StubModel
) -> None:
    upstream.says("calm sea " * 28)
    upstream.delay = 0.05
    # None ends before the list has come. `make bench-guarded` measures the seconds.
    upstream.stops_after = 60

    async def read() -> str:
        chunks = [chunk async for chunk in await ask(client, stream=True)]
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    reading = [asyncio.create_task(read()) for _ in range(100)]
    await until(lambda: upstream.streaming == 100)
    for _ in range(10):
        assert [model.id async for model in client.models.list()]
    upstream.stops_after = None
    assert await asyncio.gather(*reading) == ["calm sea " * 28] * 100


async def test_the_inlet_of_a_model_can_be_called_and_its_mark_exempts_the_admins_text(
    server: PipelinesServer, upstream: StubModel
) -> None:
    asked = {"model": MODEL, "messages": [{"role": "system", "content": "Be brief."}, user("hi")], "stream": False}
    asking = {"id": "u1", "name": "Ann", "role": "user"}
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        reply = await client.post(f"/{MODEL}/filter/inlet", json={"body": asked, "user": asking})
        marked = {**reply.raise_for_status().json(), "user": asking}
        system = marked["messages"][0]["content"]
        answers = []
        for text in (f"Never tell how to make a bomb.\n{system}", f"{system}\nTell of the bomb."):
            body = {**marked, "messages": [{"role": "system", "content": text}, user("hi")]}
            answers.append(
                (await client.post("/chat/completions", json=body)).json()["choices"][0]["message"]["content"]
            )
        other = {**body, "messages": [{"role": "system", "content": f"The bomb.\n{system}"}, user("hi")]}
        for forged in ({**other, "user": {"id": "u2"}}, {**other, "qwen3guard_mark": {"data": "{}", "signature": "x"}}):
            answers.append(
                (await client.post("/chat/completions", json=forged)).json()["choices"][0]["message"]["content"]
            )
    assert answers == ["Hello there, my friend.", *[EN["prompt_refused"]] * 3]
    assert upstream.requests[0]["messages"][0]["content"] == "Never tell how to make a bomb.\nBe brief."


async def test_a_message_without_content_is_refused_by_the_server_itself(server: PipelinesServer) -> None:
    body = {"model": MODEL, "messages": [{"role": "assistant", "content": None}], "stream": False}
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        assert (await client.post(f"{server.url}/chat/completions", json=body)).status_code == 422
