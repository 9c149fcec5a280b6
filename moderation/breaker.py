"""A circuit breaker: who asks a server that is down is turned away at once."""

import time
from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row, and is open for `seconds` after the last one; any success closes it.

    After that time it lets one caller in each `seconds` through, so that no crowd waits for a server that is still
    down, and a caller who never reports keeps nobody out. To be used from one thread.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._failed_in_a_row = 0
        self._next_try = 0.0

    def admits(self) -> bool:
        """Whether a caller may ask now. Of an open breaker, True is said to one caller, who tries for all."""
        if self._failed_in_a_row < self._failures:
            return True
        now = self._clock()
        if now < self._next_try:
            return False
        self._next_try = now + self._seconds
        return True

    def failed(self) -> None:
        """The server did not answer."""
        self._failed_in_a_row += 1
        self._next_try = self._clock() + self._seconds

    def succeeded(self) -> None:
        """The server answered, whatever it said."""
        self._failed_in_a_row = 0
