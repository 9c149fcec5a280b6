"""Counts the bytes of texts that one server has received and not judged yet."""

import asyncio
from collections import OrderedDict

from guard_server.api.error_reply import Busy


class InFlight:
    """At most `most` bytes. Callers beyond that wait, first come first served. To be used from one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()

    def take_now(self, size: int) -> None:
        """Count `size` more bytes. Raises Busy if they do not fit at once."""
        if self._waiting or not self._fits(size):
            raise Busy("this server has too much unjudged text: try again later")
        self.held += size

    async def take(self, size: int) -> None:
        """Count `size` more bytes once they fit. Any size fits if no bytes are counted."""
        if not self._waiting and self._fits(size):
            self.held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = size
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(turn, None) is None and not turn.cancelled():
                self.held -= size
            self._let_in()
            raise

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.held -= size
        self._let_in()

    def _fits(self, size: int) -> bool:
        return not self.held or self.held + size <= self._most

    def _let_in(self) -> None:
        while self._waiting:
            turn, size = next(iter(self._waiting.items()))
            if not turn.cancelled():
                if not self._fits(size):
                    return
                self.held += size
                turn.set_result(None)
            del self._waiting[turn]
