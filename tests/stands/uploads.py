"""The files that an admin uploads, and a probe that a server answers during an upload."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.state import ROOT
from tests.stands.waiting import PATIENCE

# Seconds between two probes.
_PAUSE = 0.02


def plugins() -> list[Path]:
    """The files that an admin uploads."""
    return sorted((ROOT / "dist").glob("*.py"))


@contextmanager
def watched(url: str) -> Iterator[list[float]]:
    """Sends requests to the server at `url` continuously, and collects the seconds until each reply."""
    silences: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            asked = time.monotonic()
            # Each on a new connection: the server may close an idle one just when it answers again.
            httpx.get(url, trust_env=False, timeout=PATIENCE).raise_for_status()
            silences.append(time.monotonic() - asked)
            time.sleep(_PAUSE)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield silences
    finally:
        ended.set()
        watcher.join()
