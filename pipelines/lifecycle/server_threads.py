"""The threads of the Pipelines server, in which it calls `pipe` and waits for each part of a streamed answer."""

import asyncio

from anyio import CapacityLimiter
from anyio.from_thread import check_cancelled
from anyio.to_thread import current_default_thread_limiter

# For all that is no streamed answer: as many as the server has without us.
_OTHERS = 40


class ServerThreads:
    """What the server has of them. Knows nothing, and says that some are free, before `provide`."""

    def __init__(self) -> None:
        self._limiter: CapacityLimiter | None = None

    def provide(self, streams: int) -> None:
        """Let there be enough for so many streamed answers at a time. In the server's own loop."""
        self._limiter = current_default_thread_limiter()
        self._limiter.total_tokens = max(self._limiter.total_tokens, streams + _OTHERS)

    def all_busy(self) -> bool:
        """Whether somebody may be waiting for one. For any thread."""
        return self._limiter is not None and self._limiter.available_tokens <= 0


def in_server_thread() -> bool:
    """Whether this code runs in one of them: what it returns is then served by the server's own loop."""
    try:
        check_cancelled()
    except RuntimeError:
        return False
    except asyncio.CancelledError:
        pass
    return True


def client_left() -> bool:
    """Whether the server has given up the request that it runs this code for, since its client is gone."""
    try:
        check_cancelled()
    except RuntimeError:
        return False
    except asyncio.CancelledError:
        return True
    return False
