"""A circuit breaker: while a server is down, callers fail at once and do not wait for it."""

import time
from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row and stays open for `seconds` after the last failure. Any success closes it.

    After that time it admits `tries` callers per `seconds`. This keeps a crowd away from a server that is still down,
    and is enough for all checks of one user's request (its prompt, then its answer). A caller that never reports a
    result blocks nobody. Use from one thread.
    """

    def __init__(self, failures: int, seconds: float, tries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._seconds = seconds
        self._tries = tries
        self._clock = clock
        self._failed_in_a_row = 0
        self._next_tries = 0.0
        self._tries_left = 0

    def admits(self) -> bool:
        """Whether a caller may ask now. An open breaker admits only a few callers, as probes."""
        if self._failed_in_a_row < self._failures:
            return True
        now = self._clock()
        if now >= self._next_tries:
            self._next_tries, self._tries_left = now + self._seconds, self._tries
        self._tries_left -= 1
        return self._tries_left >= 0

    def failed(self) -> None:
        """Record that the server did not answer."""
        self._failed_in_a_row += 1
        self._next_tries, self._tries_left = self._clock() + self._seconds, 0

    def succeeded(self) -> None:
        """Record that the server answered, whatever the answer was."""
        self._failed_in_a_row = 0
