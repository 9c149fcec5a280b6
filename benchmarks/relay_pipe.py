"""The least that a model in a Pipelines server can do: relay an upstream's lines. Its cost is the server's own share.

`benchmarks.guarded_bench` uploads it to the server, and sets the upstream in an environment variable.
"""

import os
from collections.abc import Iterator
from typing import Any

import httpx


class Pipeline:
    """The class that the Pipelines server loads."""

    def __init__(self) -> None:
        self.name = "relay"
        # One client, so that its connections are kept alive.
        self._http = httpx.Client(base_url=os.environ["RELAY_UPSTREAM"], timeout=120, trust_env=False)

    def pipe(self, user_message: str, model_id: str, messages: list[Any], body: dict[str, Any]) -> Iterator[str]:
        """The upstream's lines, each as it arrives."""
        return Lines(self._http, body)


class Lines(Iterator[str]):
    """An iterator, not a generator: after a generator the server appends its own end of stream."""

    def __init__(self, http: httpx.Client, body: dict[str, Any]) -> None:
        self._lines = self._read(http, body)

    def __next__(self) -> str:
        return next(self._lines)

    @staticmethod
    def _read(http: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
        with http.stream("POST", "/chat/completions", json={**body, "model": "paced"}) as reply:
            for line in reply.iter_lines():
                if line:
                    yield line
