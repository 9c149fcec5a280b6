"""Buffers what one WebSocket has sent until it is judged. When it is full, the client has to wait (backpressure)."""

import asyncio
from typing import Generic, TypeVar

from guard_server.api.error_reply import Busy
from guard_server.stream.bytes_in_flight import InFlight

_Piece = TypeVar("_Piece")


class Inbox(Generic[_Piece]):
    """A bounded queue from the task that receives to the task that judges. Must be closed, also after an error.

    Args:
        in_flight: counts the bytes of all sockets.
        most: bytes of this socket; a piece of any size fits if there is no other.
        seconds: the longest wait for room.
    """

    def __init__(self, in_flight: InFlight, most: int, seconds: float) -> None:
        self._in_flight = in_flight
        self._most = most
        self._seconds = seconds
        self._pieces: list[_Piece] = []
        self._waiting = 0
        self._judged = 0
        """Bytes of pieces that the judge has taken and not judged yet."""
        self._changed = asyncio.Event()

    async def put(self, piece: _Piece, size: int) -> None:
        """Add `piece`, which keeps `size` bytes in memory, once there is room. By one task at a time.

        Raises:
            Busy: there was no room in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                while self._held and self._held + size > self._most:
                    self._changed.clear()
                    await self._changed.wait()
                await self._in_flight.take(size)
        except TimeoutError:
            raise Busy(f"no room for more text within {self._seconds:g} seconds: try again later") from None
        self._pieces.append(piece)
        self._waiting += size
        self._changed.set()

    async def take(self) -> list[_Piece]:
        """All waiting pieces, at least one. Those that were taken before count as judged."""
        self._give_back_judged()
        while not self._pieces:
            self._changed.clear()
            await self._changed.wait()
        pieces, self._pieces = self._pieces, []
        self._judged, self._waiting = self._waiting, 0
        return pieces

    def close(self) -> None:
        """Discard all pieces. To be called when both tasks have ended."""
        self._give_back_judged()
        self._in_flight.give_back(self._waiting)
        self._pieces, self._waiting = [], 0

    @property
    def _held(self) -> int:
        return self._waiting + self._judged

    def _give_back_judged(self) -> None:
        self._in_flight.give_back(self._judged)
        self._judged = 0
        self._changed.set()
