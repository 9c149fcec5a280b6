"""Requests to a server with several workers, each of which has a memory of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Reply = TypeVar("_Reply")
_REQUESTS = 16
# One after another, an idle server lets the same worker answer most of them.
_AT_ONCE = 4


def from_all_workers(ask: Callable[[], _Reply]) -> list[_Reply]:
    """The replies of all workers, of some more than one: chance decides who answers. Raises what `ask` raises."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(lambda _: ask(), range(_REQUESTS)))
