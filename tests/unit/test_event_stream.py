import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from webui.guarded.event_stream import EventStream, StreamUnreadable


async def read(sent: bytes, cuts: Iterable[int] = ()) -> tuple[list[Any], bool, bool]:
    async def received() -> AsyncIterator[bytes]:
        before = 0
        for cut in (*cuts, len(sent)):
            yield sent[before:cut]
            before = cut

    stream = EventStream(received())
    values = [event.value for event in [event async for event in stream.events()]]
    return values, stream.done, stream.unreadable


@pytest.mark.parametrize(
    ("sent", "values", "done", "unreadable"),
    [
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', [{"a": 1}], True, False),
        (b'data:{"a":1}\r\n\r\ndata:{"b":2}\r\n\r\n', [{"a": 1}, {"b": 2}], False, False),
        (b'data: {"a": 1}\r\rdata: [DONE]\r\r', [{"a": 1}], True, False),
        (b'\xef\xbb\xbfdata: {"a": 1}\n\n', [{"a": 1}], False, False),
        (b': OPENROUTER PROCESSING\n\nid: 7\nretry: 10\ndata: {"a": 1}\n\n', [{"a": 1}], False, False),
        (b'data: {"a":\ndata: 1}\n\n', [{"a": 1}], False, False),
        (b'data: {"a": 1}\ndata: {"b": 2}\n', [{"a": 1}, {"b": 2}], False, False),
        (b'data: ping\n\ndata: {"a": 1}\n\n', [{"a": 1}], False, True),
        (b'data\n\ndata: {"a": 1}\n\n', [{"a": 1}], False, False),
        (b'data: {"a": 1}', [{"a": 1}], False, False),
        (b'data: {"a": 1}\n\ndata: [DONE]', [{"a": 1}], True, False),
        (
            b'data: {"a": 1}\n\n{"error": {"message": "gone"}}\n',
            [{"a": 1}, {"error": {"message": "gone"}}],
            False,
            False,
        ),
        (b'{\n "choices": [\n  1\n ]\n}\n', [{"choices": [1]}], False, False),
        ('data: {"a": "\U0001f60a炸"}\n\n'.encode(), [{"a": "\U0001f60a炸"}], False, False),
        (b"data: what?\n\n<html>\n", [], False, True),
        # A line of a log that begins like JSON.
        (b'[INFO] busy\ndata: {"a": 1}\n\n{busy\ndata: {"b": 2}\n\n', [{"a": 1}, {"b": 2}], False, True),
        (b'[{"a": 1}\n,{"b": 2}\n]\n\ndata: [DONE]\n\n', [[{"a": 1}, {"b": 2}]], True, False),
        (b'data: {"a": 1}\n\n[DONE]\ndata: {"b": 2}\n', [{"a": 1}], True, False),
        (b'data: {"a": 1}\n\ndata: "[done]"\n\n', [{"a": 1}], True, False),
        (b'data: {"a": 1}{"b": 2}\n\ndata: {"c": 3},\n\n', [{"a": 1}, {"b": 2}, {"c": 3}], False, False),
        (b'data: {"a": 1}data: {"b": 2} }\n\n', [{"a": 1}, {"b": 2}], False, False),
        (
            b'data: data: {"a": 1}\n\n data: {"b": 2}\n\nDATA: {"c": 3}\n\n',
            [{"a": 1}, {"b": 2}, {"c": 3}],
            False,
            False,
        ),
        (b'data: {"a": "caf\xe9"}\n\n', [{"a": "caf\ufffd"}], False, False),
        (b"event: error\ndata: gone away\n\n", ["gone away"], False, True),
        (b'data: {"a": 1}\n\ndata: {"b', [{"a": 1}], False, True),
        (b"", [], False, False),
    ],
)
async def test_events_do_not_depend_on_chunks_and_line_ends(
    sent: bytes, values: list[Any], done: bool, unreadable: bool
) -> None:
    assert await read(sent) == (values, done, unreadable)
    assert await read(sent, range(1, len(sent))) == (values, done, unreadable)
    chance = random.Random(1)
    for _ in range(100):
        cuts = sorted(chance.sample(range(len(sent) + 1), min(len(sent), 5)))
        assert await read(sent, cuts) == (values, done, unreadable)


async def test_the_name_of_an_event_is_returned() -> None:
    async def received() -> AsyncIterator[bytes]:
        yield b'event: error\ndata: {"message": "gone"}\n\ndata: {"a": 1}\n\n'

    assert [event.name async for event in EventStream(received()).events()] == ["error", ""]


@pytest.mark.parametrize(
    "sent",
    [
        b"data: " + b"a" * 17_000_000,
        b"{\n" + (b"a" * 1000 + b"\n") * 17_000,
        b"data: {" + b"\ndata: " + b"a" * 17_000_000,
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=["one line", "bare lines", "lines of one event", "depth"],
)
async def test_the_size_and_depth_of_events_are_bounded(sent: bytes) -> None:
    with pytest.raises(StreamUnreadable, match="too"):
        await read(sent, range(0, len(sent), 65536))


@pytest.mark.parametrize("broken", [b'{"a": 1', b'{"a": }', b'{"a":\ndata: 1', b'{"a": ' + b"9" * 5000 + b"}"])
async def test_an_answer_with_a_hole_is_not_read_to_its_end(broken: bytes) -> None:
    for end in (b"\n\n", b"\ndata: [DONE]\n"):
        with pytest.raises(StreamUnreadable, match="A part of"):
            await read(b"data: " + broken + end + b'data: {"b": 2}\n\n')


async def test_reading_is_linear_in_the_input() -> None:
    async def seconds(count: int) -> float:
        sent = b"data: [1\n" * count + b"\ndata: " + b"{} " * count + b"\n" + b"\r" * count + b"a" * count
        started = time.process_time()
        await asyncio.wait_for(read(sent, range(0, len(sent), 4096)), 60)
        return time.process_time() - started

    await seconds(100)
    small = min([await seconds(5_000) for _ in range(3)])
    assert min([await seconds(40_000) for _ in range(3)]) < 8 * small * 4
