"""What the scripted chat model was asked: every request body, kept so that a test can look at it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class RequestLog:
    """Request bodies in memory, and one JSON line each in a file when a path is given."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []

    def add(self, body: dict[str, Any]) -> None:
        """Appends `{"time": seconds since 1970, "body": the request}`."""
        entry = {"time": time.time(), "body": body}
        self.entries.append(entry)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def clear(self) -> None:
        """Forgets what is in memory; the file keeps it."""
        self.entries.clear()
