"""What an admin uploads, and whether a server answers meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.state import ROOT
from tests.stands.waiting import PATIENCE

# Between two questions whether the server answers.
_PAUSE = 0.02


def plugins() -> list[Path]:
    """The files that an admin uploads to a Pipelines server."""
    return sorted(file for file in (ROOT / "dist").glob("*.py") if (ROOT / "pipelines" / file.name).exists())


@contextmanager
def watched(url: str) -> Iterator[list[float]]:
    """Asks the server at `url` all the time, and collects the seconds that each answer took."""
    silences: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            asked = time.monotonic()
            # On a connection of its own: the server may close an idle one just when it answers again.
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
