"""A server whose models are guarded, whichever way a host reaches it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from webui.bodies import Body


class UpstreamFailed(Exception):
    """No answer from an upstream. The text is for users and holds no key.

    Args:
        message: in our words.
        status: the upstream's own HTTP status; 502 if it gave none, 504 if it did not answer in time.
        words: what the server says itself, which nobody has judged yet.
    """

    def __init__(self, message: str, status: int, words: str = "") -> None:
        super().__init__(f"{message}: {words}" if words else message)
        self.message = message
        self.status = status
        self.words = words


class Upstream(Protocol):
    """What a host provides for the models that it guards. Any of its errors is an `UpstreamFailed`."""

    async def complete(self, body: Body, headers: Mapping[str, str] | None = None) -> Body:
        """The unstreamed answer to a chat-completions request, with at least one choice."""

    def stream(
        self, body: Body, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Body]]:
        """The chunks of a streamed answer; one whole completion if the server sends that instead.

        The call ends with the context.
        """
