"""Bounds on what one client can use of the stream endpoint: memory, time and places. Over real HTTP and WebSockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from guard_server.api.error_reply import Busy
from guard_server.stream import stream_routes
from guard_server.stream.bytes_in_flight import InFlight
from tests.stands.guards.served_streams import HELLO, Served, closing, exchange, served_streams
from tests.stands.waiting import PATIENCE, until

KIB = 1024
PART = "calm words, " * (64 * KIB // 12)
ROOM = {"characters": 10**8, "room_seconds": PATIENCE, "idle_seconds": PATIENCE, "message_seconds": PATIENCE}


async def refusal(client: ClientConnection) -> tuple[str, int, str]:
    """The error's code, the close code and its reason; earlier replies are skipped."""
    reply = json.loads(await client.recv())
    while "error" not in reply:
        reply = json.loads(await client.recv())
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason
    assert reply["error"]["message"].startswith(closed.value.rcvd.reason)
    return reply["error"]["code"], closed.value.rcvd.code, closed.value.rcvd.reason


async def flood(client: ClientConnection, sent: list[int], text: str = PART) -> None:
    """Send `text` without end; `sent` gets each message's length when it was handed to the network."""
    while True:
        await client.send(json.dumps({"text": text}))
        sent.append(len(text))


async def stopped(sent: list[int]) -> bool:
    """Whether nothing was sent for half a second."""
    before = len(sent)
    await asyncio.sleep(0.5)
    return len(sent) == before


async def flooded(served: Served, count: int, most: int, text: str = PART) -> int:
    """Let `count` sockets send as much as they can while nothing is judged; returns the most bytes held."""
    sent: list[int] = []
    clients = [await served.socket(compression=None) for _ in range(count)]
    for client in clients:
        await exchange(client, messages=HELLO)
    served.model.gate.clear()
    tasks = [asyncio.create_task(flood(client, sent, text)) for client in clients]
    try:
        await until(lambda: served.sessions.in_flight.held > most // 2)
        highest = served.sessions.in_flight.held
        while not await stopped(sent):
            highest = max(highest, served.sessions.in_flight.held)
        return max(highest, served.sessions.in_flight.held)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A server that reads nothing does not notice clients that leave; once it reads again, it does.
        served.model.gate.set()
        for client in clients:
            client.transport.abort()
        await until(lambda: not len(served.sessions))
        assert served.sessions.in_flight.held == 0


@pytest.mark.parametrize("text", [PART, "", "x", "漢字" * 8 * KIB, "😀" + "x" * 64 * KIB])
async def test_a_socket_holds_a_limited_number_of_bytes_and_the_rest_waits_in_the_network(text: str) -> None:
    most = 512 * KIB if text else 64 * KIB
    async with served_streams(socket_bytes=most, **ROOM) as served:
        assert 0 < await flooded(served, 1, most, text) <= most


async def test_all_sockets_together_hold_a_limited_number_of_bytes() -> None:
    async with served_streams(socket_bytes=512 * KIB, bytes_in_all=1024 * KIB, **ROOM) as served:
        assert 512 * KIB < await flooded(served, 8, 1024 * KIB) <= 1024 * KIB


async def test_waiting_text_is_judged_completely_once_there_is_room() -> None:
    async with served_streams(socket_bytes=128 * KIB, **ROOM) as served, served.socket(compression=None) as client:
        served.model.context = 10**8
        await exchange(client, messages=HELLO)
        served.model.gate.clear()
        sending = asyncio.create_task(send_all(client, 20))
        await until(lambda: served.sessions.in_flight.held > 64 * KIB)
        served.model.gate.set()
        reply: dict[str, Any] = {"final": False}
        while not reply["final"]:
            reply = json.loads(await client.recv())
        await sending
        assert reply["received"] == 20 * 20_000
        assert reply["severity"] == "Safe"


async def send_all(client: ClientConnection, count: int) -> None:
    for number in range(count):
        await client.send(json.dumps({"text": "x" * 20_000, "end": number == count - 1}))


async def test_a_socket_without_room_gets_busy() -> None:
    limits = {**ROOM, "room_seconds": 0.2}
    async with served_streams(socket_bytes=128 * KIB, **limits) as served, served.socket(compression=None) as client:
        await exchange(client, messages=HELLO)
        served.model.gate.clear()
        sending = asyncio.create_task(flood(client, []))
        code, close, reason = await refusal(client)
        assert (code, close) == ("busy", 1013)
        assert "try again later" in reason
        await asyncio.gather(sending, return_exceptions=True)
        await until(lambda: not served.sessions.in_flight.held)


async def test_a_request_without_room_gets_busy() -> None:
    async with served_streams(bytes_in_all=100 * KIB, **ROOM) as served:
        served.model.gate.clear()
        held = asyncio.create_task(served.post(messages=HELLO, text="x" * 80 * KIB))
        await until(lambda: served.model.running)
        assert await served.refused(messages=HELLO, text="x" * 80 * KIB) == (503, "busy", None)
        served.model.gate.set()
        assert (await held)["received"] == 80 * KIB
        assert served.sessions.in_flight.held == 0


async def never_complete() -> AsyncIterator[str]:
    yield '{"messages": '
    while True:
        await asyncio.sleep(0.05)
        yield " "


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_message_that_never_completes_ends_the_stream(opened: bool, silent: bool) -> None:
    # One of them, which must be enough for the first message.
    async with served_streams(**{"idle_seconds" if opened else "message_seconds": 1}) as served:
        async with served.socket() as client:
            if opened:
                await exchange(client, messages=HELLO)
            sending = asyncio.create_task(asyncio.sleep(PATIENCE) if silent else client.send(never_complete()))
            assert await refusal(client) == (
                "idle",
                1008,
                "no complete message came within 1 seconds; open another stream",
            )
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await until(lambda: not len(served.sessions))


async def test_a_first_message_has_less_time_than_a_pause_between_two() -> None:
    async with served_streams(message_seconds=3, idle_seconds=PATIENCE) as served, served.socket() as client:
        await exchange(client, messages=HELLO)
        await asyncio.sleep(3.3)
        assert (await exchange(client, text="still here, "))["received"] == len("still here, ")


async def test_a_request_that_never_completes_is_ended() -> None:
    async with served_streams(message_seconds=0.3) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f'POST {stream_routes.PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{"text"'.encode())
        reply = (await reader.readuntil(b"\r\n\r\n") + await reader.read(20)).decode()
        writer.close()
        assert reply.startswith("HTTP/1.1 408 ")
        assert served.sessions.in_flight.held == 0


async def test_a_client_that_reads_nothing_loses_its_place() -> None:
    async with served_streams(reply_seconds=0.3) as served:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", served.port))
        # It reads one reply from the network, and then no more.
        async with served.socket(sock=narrow, max_queue=1, close_timeout=0, compression=None) as client:
            await client.send(json.dumps({"messages": HELLO}))
            await until(lambda: len(served.sessions))
            sent = 0
            while len(served.sessions):
                with suppress(ConnectionClosed):
                    await client.send(json.dumps({"text": "word "}))
                sent += 1
                await asyncio.sleep(0.002)
            client.transport.abort()
        # By our own limit, not by the pings of uvicorn, which the client answers as long as it reads.
        assert sent < 5000
        assert served.model.running == 0
        assert served.sessions.in_flight.held == 0


@pytest.mark.parametrize("text", ["", "word "])
async def test_the_duration_of_a_stream_is_limited(text: str) -> None:
    async with served_streams(stream_seconds=1.5) as served:
        key = (await served.post(messages=HELLO))["id"]
        async with served.socket() as client:
            await exchange(client, messages=HELLO)
            # After its end, nothing can be sent.
            with suppress(ConnectionClosed):
                for _ in range(3):
                    await client.send(json.dumps({"text": text}))
                    await asyncio.sleep(0.05)
            code, close, reason = await refusal(client)
            assert (code, close, reason) == ("idle", 1008, "a stream lasts 1.5 seconds at most; open another")
        await until(lambda: not len(served.sessions))
        assert await served.refused(id=key, text=text) == (404, "unknown_stream", "id")


async def test_a_close_reason_fits_its_frame_in_any_script() -> None:
    async with served_streams() as served, served.socket() as client:
        await client.send(json.dumps({"messages": HELLO, "字" * 100: 1}))
        assert json.loads(await client.recv())["error"]["code"] == "invalid_request"
        assert await closing(client) == 1008


async def test_bytes_are_granted_in_order_and_a_cancelled_caller_gets_none() -> None:
    in_flight = InFlight(10)
    await in_flight.take(8)
    first, second, third = (asyncio.create_task(in_flight.take(size)) for size in (5, 9, 2))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        in_flight.take_now(1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (second.done(), third.done(), in_flight.held) == (False, False, 8)
    in_flight.give_back(8)
    # It is cancelled after it got its bytes and before it runs again.
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await third
    assert in_flight.held == 2
    await asyncio.wait_for(in_flight.take(8), PATIENCE)
