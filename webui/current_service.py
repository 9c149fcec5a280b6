"""One service at a time, made of the settings that hold now.

A host replaces the settings by itself: when an admin saves others, or, with the same values, at every request.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Settings = TypeVar("Settings")
Made = TypeVar("Made")


class CurrentService(Generic[Settings, Made]):
    """Makes a service anew when the values of its settings have changed. For any thread.

    Args:
        make: makes the service of settings.
        retire: gets the service before, which may still be in use. Must not wait: nobody's Save waits for that.
    """

    def __init__(self, make: Callable[[Settings], Made], retire: Callable[[Made], None]) -> None:
        self._make = make
        self._retire = retire
        self._lock = threading.Lock()
        self._current: tuple[Settings, Made] | None = None

    def of(self, settings: Settings) -> Made:
        """The service of these settings."""
        with self._lock:
            if self._current is not None and (self._current[0] is settings or self._current[0] == settings):
                return self._current[1]
            retired, self._current = self._current, (settings, self._make(settings))
            if retired is not None:
                self._retire(retired[1])
            return self._current[1]

    @property
    def made(self) -> Made | None:
        """The service that was made last; None if there is none."""
        return self._current[1] if self._current else None

    def take(self) -> Made | None:
        """The service that was made last, which is current no more: `of` will make another."""
        with self._lock:
            taken, self._current = self._current, None
            return taken[1] if taken else None
