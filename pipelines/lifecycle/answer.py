"""What a streamed `pipe` returns: an answer that is written in one thread and read in another."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Self

from pipelines.lifecycle.server_threads import client_left
from webui.bodies import Body

# An empty delta keeps connections open, and shows whether anybody still reads.
_BEAT_SECONDS = 0.5
# The server notices a reader that leaves while it waits, and it drops most abandoned iterators sooner or later. Of the
# others, a reader that has not asked for a frame for this long counts as gone: it may also be slow, or its server busy.
# Counted in looks, one a second: while this process itself is stopped, no reader can ask.
_PATIENCE_SECONDS = 10
_WATCH_SECONDS = 1
DONE = "data: [DONE]"


class AnswerWriter:
    """The side that writes. It must not know its reader, so that one who is dropped is gone.

    Args:
        server_is_busy: whether a reader who still reads may have to wait for the server.
    """

    def __init__(self, server_is_busy: Callable[[], bool]) -> None:
        self._server_is_busy = server_is_busy
        self.frames: SimpleQueue[str | None] = SimpleQueue()
        self.dropped: Future[None] = Future()
        """Done when the server gave the reader up."""
        self.away_since: float | None = time.monotonic()
        """When the reader left with its last frame; None while it waits for the next."""

    def write(self, chunk: Body) -> None:
        """Add a chunk. Never waits."""
        self.frames.put(_line(chunk))

    def end(self) -> None:
        """Nothing comes after this."""
        self.frames.put(DONE)
        self.frames.put(None)

    async def abandoned(self) -> None:
        """Returns when nobody reads any longer. A reader whom a busy server does not serve has not left."""
        dropped = asyncio.wrap_future(self.dropped)
        seen, away = self.away_since, 0.0
        while not dropped.done():
            await asyncio.wait({dropped}, timeout=_WATCH_SECONDS)
            if seen is None or seen != self.away_since or self._server_is_busy():
                seen, away = self.away_since, 0.0
                continue
            away += _WATCH_SECONDS
            if away >= _PATIENCE_SECONDS:
                return


class Answer(Iterator[str]):
    """Lines of server-sent events, as the Pipelines server relays them; each item is a line, or some of them.

    An iterator and no generator: after a generator the server would add an end of its own.

    Args:
        writer: the other side.
        heartbeat: said while there is nothing else to say.
    """

    def __init__(self, writer: AnswerWriter, heartbeat: Body) -> None:
        self._writer = writer
        self._heartbeat = _line(heartbeat)
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        self._writer.away_since = None
        lines = self._take()
        self._writer.away_since = time.monotonic()
        if client_left():
            self._drop()
        if not lines:
            raise StopIteration
        return "\n\n".join(lines)

    def __del__(self) -> None:
        self._drop()

    def _drop(self) -> None:
        # The writer may have stopped waiting for this before, and cancelled it.
        with suppress(InvalidStateError):
            self._writer.dropped.set_result(None)

    def _take(self) -> list[str]:
        """All lines that wait, together: the server spends a thread's turn on each that it is given alone."""
        lines: list[str] = []
        frames = self._writer.frames
        try:
            while not self._ended:
                line = frames.get(timeout=_BEAT_SECONDS) if not lines else frames.get_nowait()
                if line is None:
                    self._ended = True
                else:
                    lines.append(line)
        except Empty:
            return lines or [self._heartbeat]
        return lines


def _line(chunk: Body) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}"
