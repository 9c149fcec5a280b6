"""Places for answers that are being made, so that no user's requests keep the server from all others."""

import threading
from collections import Counter, deque

# A user may hold so many times what is left free: two thirds of all places where nobody else asks, and less the more
# others ask, so that there is always a place for the next one.
_SHARE = 2


class NoPlace(Exception):
    """A request must wait. The text is for users.

    Args:
        message: what to say.
        status: 429 if the user holds too many places, 503 if all are taken.
        cause: for the audit.
    """

    def __init__(self, message: str, status: int, cause: str) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause


class Places:
    """So many places, shared fairly by users. For any thread.

    Args:
        limit: how many there are; may be changed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._taken = 0
        # A place may be given back while garbage is collected, in a thread that holds the lock: so without it.
        self._given_back: deque[str] = deque()

    def take(self, user: str) -> "Place":
        """A place for one answer. A program that names no user is bound by the number of places alone.

        Raises:
            NoPlace
        """
        with self._lock:
            self._count_given_back()
            free = self.limit - self._taken
            if free <= 0:
                said = "Too many requests are being answered at the moment. Please try again in a moment."
                raise NoPlace(said, 503, f"not served: all {self.limit} places are taken")
            held = self._held.get(user, 0)
            if user and held >= _SHARE * free:
                said = "Too many of your requests are being answered at the moment. Please try again when one is done."
                raise NoPlace(said, 429, f"not served: this user holds {held} of {self.limit} places, {free} are free")
            self._taken += 1
            self._held[user] += 1
        return Place(user, self._given_back)

    @property
    def taken(self) -> int:
        """How many are held."""
        with self._lock:
            self._count_given_back()
            return self._taken

    def _count_given_back(self) -> None:
        while self._given_back:
            user = self._given_back.popleft()
            self._taken -= 1
            self._held[user] -= 1
            if not self._held[user]:
                del self._held[user]


class Place:
    """One place that is held."""

    def __init__(self, user: str, given_back: deque[str]) -> None:
        self._user = [user]
        self._given_back = given_back

    def give_back(self) -> None:
        """For any thread, at any time, and as often as one likes. Never waits."""
        try:
            self._given_back.append(self._user.pop())
        except IndexError:
            return
