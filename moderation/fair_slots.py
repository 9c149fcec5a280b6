"""A limit on concurrent requests, shared fairly among users: one user's thousand checks do not delay another's one.

Start-time fair queuing (Goyal, Vin and Cheng, 1996): each user has a virtual clock, which advances by the size of each
request served; the user with the lowest clock is served next. A user who returns after a while starts at the clock of
the request served last. So idle time earns no credit, and service at times without a queue costs nothing later.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heappush

from moderation.asker import current_asker
from moderation.conversation import Conversation
from moderation.errors import Crowded
from moderation.lru_cache import LruCache

# The guard works in order of arrival, so one user may have at most this many characters there at a time, or two
# requests of any size. This keeps a GPU busy, and another user's check still gets through soon.
_MOST_AT_ONCE = 65_536
_ALWAYS_AT_ONCE = 2
# Characters added to each request, for the template and the overhead.
_REQUEST = 256
# Each waiting check holds a conversation in memory.
_MOST_WAITING = 10_000
_MOST_WAITING_OF_ONE = 2_500
# Idle users whose clocks are kept.
_REMEMBERED = 10_000
# After this many first checks of one user, one of the user's later checks is served.
_FIRST_IN_A_ROW = 4

_Waiter = asyncio.Future[None]


def size_of(conversation: Conversation) -> int:
    """The guard's work for a conversation, in characters. The context counts an eighth: most of it is prefix-cached."""
    *context, turn = conversation
    return _REQUEST + len(turn.text) + sum(len(before.text) for before in context) // 8


class FairSlots:
    """Hands out `slots`. Each step takes O(log n) time for n waiting users.

    At equal clocks, first checks go before later checks of streamed answers. All unknown users share one clock, and
    have no limit per user. Use from one event loop.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._clock = 0
        self._waiting = 0
        self._tickets = 0
        self._lines: dict[str | None, _Line] = {}
        """Users with checks that wait or are served."""
        self._clocks: LruCache[str, int] = LruCache(_REMEMBERED)
        """Clocks of idle users."""
        self._turns: list[tuple[int, bool, int, _Line]] = []
        """A heap: a line's clock, whether its next check is a later one, and its ticket. An entry whose ticket is not
        the line's own is stale."""

    @property
    def waiting(self) -> int:
        return self._waiting

    @asynccontextmanager
    async def slot(self, size: int) -> AsyncIterator[None]:
        """A slot for a request of `size` characters by the asker of the current task (see `asker`).

        Raises:
            Crowded: too many checks wait already.
        """
        user, later = current_asker()
        line = self._line_of(user)
        try:
            await self._wait(line, size, later)
            try:
                yield
            finally:
                self._take_back(line, size)
        finally:
            self._forget_if_idle(line)

    async def _wait(self, line: "_Line", size: int, later: bool) -> None:
        if self._waiting >= _MOST_WAITING or (line.user is not None and line.waiting >= _MOST_WAITING_OF_ONE):
            raise Crowded("too many checks wait for the guard already: try again in a moment")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        line.add(waiter, size, later)
        self._waiting += 1
        self._take_place(line)
        self._serve()
        try:
            await waiter
        except asyncio.CancelledError:
            if line.remove(waiter):
                self._waiting -= 1
                self._take_place(line)
                self._serve()
            elif not waiter.cancelled():
                # It got a slot at the moment of its cancellation.
                self._take_back(line, size)
            raise

    def _take_back(self, line: "_Line", size: int) -> None:
        self._free += 1
        line.served -= 1
        line.at_once -= size
        self._take_place(line)
        self._serve()

    def _line_of(self, user: str | None) -> "_Line":
        line = self._lines.get(user)
        if line is None:
            known = self._clocks.get(user) if user is not None else None
            line = self._lines[user] = _Line(user, known or 0)
        return line

    def _take_place(self, line: "_Line") -> None:
        """Queue `line` on the heap, if it may be served now."""
        if not line.may_be_served():
            return
        line.clock = max(line.clock, self._clock)
        place = line.clock, line.next_is_later()
        if line.place == place:
            return
        self._tickets += 1
        line.place, line.ticket = place, self._tickets
        heappush(self._turns, (*place, line.ticket, line))
        if len(self._turns) > 2 * len(self._lines) + 64:
            # Remove stale entries. Otherwise users who come and go while nobody is served would fill the memory.
            for *_, ticket, other in self._turns:
                if ticket == other.ticket and not other.waiting:
                    other.place, other.ticket = None, 0
            self._turns = [turn for turn in self._turns if turn[2] == turn[3].ticket]
            heapify(self._turns)

    def _serve(self) -> None:
        while self._free and self._turns:
            clock, _, ticket, line = heappop(self._turns)
            if ticket != line.ticket:
                continue
            line.place = None
            if not line.may_be_served():
                continue
            waiter, size = line.pop()
            self._waiting -= 1
            if waiter.cancelled():
                # Its task has not run since it was cancelled.
                self._take_place(line)
                continue
            self._clock = max(self._clock, clock)
            line.clock = clock + size
            line.served += 1
            line.at_once += size
            self._free -= 1
            waiter.set_result(None)
            self._take_place(line)

    def _forget_if_idle(self, line: "_Line") -> None:
        if line.waiting or line.served or self._lines.get(line.user) is not line:
            return
        del self._lines[line.user]
        if line.user is not None and line.clock > self._clock:
            self._clocks[line.user] = line.clock
        if not self._lines:
            # Nobody waits: what was served until now costs nobody anything later.
            self._clocks = LruCache(_REMEMBERED)


class _Line:
    """The checks of one user: those that wait, and the amount being served."""

    def __init__(self, user: str | None, clock: int) -> None:
        self.user = user
        self.clock = clock
        self.ticket = 0
        self.place: tuple[int, bool] | None = None
        """Sort key of the entry on the heap; None if there is none."""
        self.served = 0
        """Requests being served now."""
        self.at_once = 0
        """Characters being served now."""
        self._first: OrderedDict[_Waiter, int] = OrderedDict()
        self._later: OrderedDict[_Waiter, int] = OrderedDict()
        self._in_a_row = 0

    @property
    def waiting(self) -> int:
        return len(self._first) + len(self._later)

    def add(self, waiter: _Waiter, size: int, later: bool) -> None:
        (self._later if later else self._first)[waiter] = size

    def remove(self, waiter: _Waiter) -> bool:
        """Remove a waiter. Returns whether it was waiting."""
        return any(waiting.pop(waiter, None) is not None for waiting in (self._first, self._later))

    def next_is_later(self) -> bool:
        return not self._first or (bool(self._later) and self._in_a_row >= _FIRST_IN_A_ROW)

    def may_be_served(self) -> bool:
        if not self.waiting:
            return False
        size = next(iter((self._later if self.next_is_later() else self._first).values()))
        return self.user is None or self.served < _ALWAYS_AT_ONCE or self.at_once + size <= _MOST_AT_ONCE

    def pop(self) -> tuple[_Waiter, int]:
        """Remove and return the next waiter and its size."""
        later = self.next_is_later()
        self._in_a_row = 0 if later else self._in_a_row + 1
        return (self._later if later else self._first).popitem(last=False)
