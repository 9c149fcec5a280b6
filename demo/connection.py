"""An OpenAI-compatible server as Open WebUI is told of it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Connection:
    """`url` ends where `/chat/completions` is added; Open WebUI calls no pipeline when the key is empty."""

    url: str
    key: str = "EMPTY"

    @classmethod
    def upstream_from_environment(cls) -> Connection | None:
        """The real chat model that UPSTREAM_BASE_URL and UPSTREAM_API_KEY name, if any."""
        url = os.environ.get("UPSTREAM_BASE_URL", "").strip().rstrip("/")
        return cls(url, os.environ.get("UPSTREAM_API_KEY") or "EMPTY") if url else None
