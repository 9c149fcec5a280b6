"""A streamed answer that is written and read on Open WebUI's one event loop."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from webui.bodies import Body

_END_OF_STREAM = "data: [DONE]\n\n"


class LiveAnswer:
    """An answer between the one who writes it and Open WebUI, which reads it for a page or a program.

    What waits is bounded by what one answer may hold: see `AnswerReader`.
    """

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._changed = asyncio.Event()
        self._left = asyncio.Event()
        self._ended = False

    def write(self, chunk: Body) -> None:
        """Add a chunk. Never waits."""
        # Open WebUI reads one event at a time.
        self._waiting.append(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n")
        self._changed.set()

    def end(self) -> None:
        """Nothing comes after this."""
        self._waiting.append(_END_OF_STREAM)
        self._ended = True
        self._changed.set()

    async def abandoned(self) -> None:
        """Returns when nobody reads any longer."""
        await self._left.wait()

    async def lines(self, write: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[str]:
        """The events that `write` writes. If the reader leaves, it ends before this does."""
        task = asyncio.create_task(write())
        try:
            while True:
                self._changed.clear()
                while self._waiting:
                    yield self._waiting.popleft()
                if self._ended:
                    return
                await self._changed.wait()
        finally:
            self._left.set()
            await asyncio.wait({task})
