"""The stream endpoint over real HTTP and WebSockets, with a stub model."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from guard_server.stream import stream_routes
from guard_server.stream.stream_errors import GuardFailed
from tests.stands.guards.served_streams import HELLO, closing, exchange, served_streams
from tests.stands.waiting import until

TEXT = "A calm beginning, then bad bad words, and no end."

Serve = Callable[..., Any]


@pytest.fixture
def serve() -> Serve:
    return served_streams


async def test_a_stream_by_websocket_is_judged_while_it_grows(serve: Serve) -> None:
    async with serve() as served, served.socket() as socket:
        opened = await exchange(socket, messages=[{"role": "user", "content": "maybe"}])
        assert opened["prompt"]["severity"] == "Controversial"
        assert opened["prompt"]["category"] == "Politically Sensitive Topics"
        first = await exchange(socket, text="A calm beginning, ")
        assert first["cleared"]["strict"] == len("A calm beginning")
        assert not first["final"]
        last = await exchange(socket, text="then bad bad words, ")
        assert last["violations"]["loose"]["character"] == TEXT.index(" bad words")
        assert last["violations"]["loose"]["category"] == "Violent"
        assert last["severity"] == "Unsafe"
        assert last["cleared"] == {"strict": len("A calm beginning, then"), "loose": len("A calm beginning, then")}
        assert last["final"]
        assert await closing(socket) == 1000
        await until(lambda: not len(served.sessions))


async def test_a_complete_answer_by_one_post(serve: Serve) -> None:
    async with serve() as served:
        reply = await served.post(messages=HELLO, text="All is well.", end=True)
        assert reply["id"] is None
        assert (reply["severity"], reply["final"], reply["prompt"]["severity"]) == ("Safe", True, "Safe")
        assert reply["cleared"] == {"strict": 12, "loose": 12}
        assert not len(served.sessions)


async def test_categories_that_the_client_allows_are_not_flagged(serve: Serve) -> None:
    async with serve() as served:
        reply = await served.post(messages=HELLO, text=TEXT, end=True, allowed_categories=["Violent"])
        assert (reply["severity"], reply["cleared"]["strict"]) == ("Safe", len(TEXT))
        refused = await served.refused(messages=HELLO, allowed_categories=["Rude"])
        assert refused == (400, "invalid_request", "allowed_categories[0]")


async def test_a_stream_by_posts_gets_the_same_verdict_as_one_post(serve: Serve) -> None:
    async with serve() as served:
        whole = await served.post(messages=HELLO, text=TEXT, end=True)
        reply = await served.post(messages=HELLO)
        for start in range(0, len(TEXT), 5):
            key = reply["id"]
            reply = await served.post(id=key, text=TEXT[start : start + 5], offset=start, end=start + 5 >= len(TEXT))
            if reply["final"]:
                break
        assert (reply["violations"], reply["cleared"]) == (whole["violations"], whole["cleared"])
        assert await served.refused(id=key, text="more") == (404, "unknown_stream", "id")
        assert not len(served.sessions)


async def test_text_that_was_sent_twice_is_not_judged_twice(serve: Serve) -> None:
    async with serve() as served:
        key = (await served.post(messages=HELLO, text="Some"))["id"]
        assert await served.refused(id=key, text="Some", offset=0) == (409, "conflict", "offset")
        assert (await served.post(id=key, text=" more", offset=4))["received"] == 9


async def test_texts_that_arrive_during_a_judgement_are_judged_together(serve: Serve) -> None:
    async with serve() as served, served.socket() as socket:
        await exchange(socket, messages=HELLO)
        served.model.gate.clear()
        asked = len(served.model.asked)
        await socket.send(json.dumps({"text": "First words, "}))
        await until(lambda: served.model.running == 1)
        for word in ("then ", "more ", "words, ", "and "):
            await socket.send(json.dumps({"text": word}))
        await (await socket.ping())
        # The server in this loop has read them, and needs one or two turns of the loop to process each.
        for _ in range(50):
            await asyncio.sleep(0)
        served.model.gate.set()
        assert json.loads(await socket.recv())["received"] == len("First words, ")
        assert json.loads(await socket.recv())["received"] == len("First words, then more words, and ")
        assert len(served.model.asked) == asked + 2


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "invalid_request", "messages"),
        ({"messages": []}, 400, "invalid_request", "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "invalid_request", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, 400, "invalid_request", "messages[0].content"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, 400, "invalid_request", "messages"),
        ({"messages": HELLO, "txt": "x"}, 400, "invalid_request", "txt"),
        ({"messages": HELLO, "id": "x"}, 400, "invalid_request", "messages"),
        ({"messages": HELLO, "offset": 3}, 409, "conflict", "offset"),
        ({"messages": HELLO, "text": "x" * 101}, 413, "too_long", "text"),
        ({"messages": [{"role": "user", "content": "x" * 101}]}, 413, "too_long", "messages"),
        ({"messages": HELLO, "text": "x" * 1001}, 413, "too_long", None),
        ({"id": "nobody", "text": "x"}, 404, "unknown_stream", "id"),
    ],
)
async def test_the_error_of_a_malformed_message_names_its_fault(
    serve: Serve, body: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    async with serve(characters=100, message_bytes=1000) as served:
        assert await served.refused(**body) == (status, code, param)
        assert not len(served.sessions)


async def test_a_request_that_is_not_json_is_refused(serve: Serve) -> None:
    async with serve() as served:
        reply = await served.http.post(stream_routes.PATH, content=b'{"text": "\\ud800"}')
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("messages", "code", "close"),
    [
        (["no json"], "invalid_request", 1008),
        ([b"bytes"], "invalid_request", 1008),
        (['{"text": "x"}'], "invalid_request", 1008),
        (['{"id": "x"}'], "invalid_request", 1008),
        ([json.dumps({"messages": HELLO}), json.dumps({"messages": HELLO})], "invalid_request", 1008),
        ([json.dumps({"messages": HELLO, "text": "x" * 2000})], "too_long", 1009),
    ],
)
async def test_a_websocket_gets_the_error_before_it_is_closed(
    serve: Serve, messages: list[str | bytes], code: str, close: int
) -> None:
    async with serve(message_bytes=1000) as served, served.socket() as socket:
        for message in messages:
            await socket.send(message)
        reply = json.loads(await socket.recv())
        if "error" not in reply:
            reply = json.loads(await socket.recv())
        assert reply["error"]["code"] == code
        assert await closing(socket) == close
        await until(lambda: not len(served.sessions))


async def test_the_number_of_concurrent_streams_is_limited(serve: Serve) -> None:
    async with serve(streams=2) as served, served.socket() as socket:
        await exchange(socket, messages=HELLO)
        key = (await served.post(messages=HELLO))["id"]
        assert await served.refused(messages=HELLO) == (503, "too_many_streams", None)
        with pytest.raises(InvalidStatus) as refused:
            async with served.socket():
                pass
        assert refused.value.response.status_code == 503
        assert b"too_many_streams" in refused.value.response.body
        assert (await served.post(id=key, end=True))["final"]
        assert (await served.post(messages=HELLO, end=True))["final"]


async def test_a_silent_stream_is_closed(serve: Serve) -> None:
    async with serve(idle_seconds=1) as served, served.socket() as socket:
        key = (await served.post(messages=HELLO))["id"]
        opened = await exchange(socket, messages=HELLO)
        assert not opened["final"]
        assert json.loads(await socket.recv())["error"]["code"] == "idle"
        assert await closing(socket) == 1008
        await until(lambda: not len(served.sessions))
        assert await served.refused(id=key) == (404, "unknown_stream", "id")


async def test_a_stream_in_use_is_not_idle(serve: Serve) -> None:
    async with serve(idle_seconds=5) as served:
        key = (await served.post(messages=HELLO))["id"]
        for _ in range(6):
            await asyncio.sleep(1)
            await served.post(id=key, text="still here, ")


async def test_two_posts_to_one_stream_do_not_mix(serve: Serve) -> None:
    async with serve() as served:
        key = (await served.post(messages=HELLO))["id"]
        served.model.gate.clear()
        first = asyncio.create_task(served.post(id=key, text="One, two, three"))
        await until(lambda: served.model.running == 1)
        assert await served.refused(id=key, text="four") == (409, "conflict", "id")
        served.model.gate.set()
        assert (await first)["received"] == len("One, two, three")


async def test_a_clients_disconnect_cancels_its_judgement(serve: Serve) -> None:
    async with serve() as served:
        served.model.gate.clear()
        posted = asyncio.create_task(served.post(messages=HELLO, text="x"))
        async with served.socket() as socket:
            await socket.send(json.dumps({"messages": HELLO}))
            await until(lambda: served.model.running == 2)
        posted.cancel()
        await until(lambda: served.model.running == 0)
        assert served.model.cancelled == 2
        await until(lambda: not len(served.sessions))


async def test_a_guard_that_fails_is_an_error_and_no_verdict(serve: Serve) -> None:
    async with serve() as served, served.socket() as socket:
        key = (await served.post(messages=HELLO))["id"]
        await exchange(socket, messages=HELLO)
        served.model.fails = GuardFailed("the engine failed")
        assert await served.refused(id=key, text="One, two") == (503, "guard_failed", None)
        assert (await exchange(socket, text="One, two"))["error"]["code"] == "guard_failed"
        assert await closing(socket) == 1011
        await until(lambda: not len(served.sessions))


async def test_the_endpoint_describes_itself(serve: Serve) -> None:
    async with serve(streams=7) as served:
        await served.post(messages=HELLO)
        reply = (await served.http.get(stream_routes.PATH)).json()
        assert (reply["object"], reply["streams"], reply["limits"]["streams"]) == ("guard.stream", 1, 7)


async def test_dropped_streams_keep_no_resources(serve: Serve) -> None:
    async with serve(streams=50) as served:
        for _ in range(4):
            sockets = [await served.socket() for _ in range(50)]
            for socket in sockets:
                await socket.send(json.dumps({"messages": HELLO, "text": "Some words, and"}))
            for socket in sockets:
                socket.transport.abort()
            await until(lambda: not len(served.sessions))
        assert served.model.running == 0
