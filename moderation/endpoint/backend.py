"""One server of Qwen3Guard, as `Guard` asks it: over HTTP (see `endpoint`), or an engine in this process."""

from typing import Protocol

from moderation.conversation import Conversation
from moderation.endpoint.server_facts import ServerFacts
from moderation.stream.stream_schema import StreamReply, StreamRequest
from moderation.verdict import Verdict


class Server(Protocol):
    """Judges one conversation at a time that fits its context."""

    @property
    def base_url(self) -> str:
        """The server's address, for error messages."""
        ...

    @property
    def model(self) -> str | None:
        """The guard that answered last; None before the first answer, and after the server has removed that model."""
        ...

    @property
    def learnt(self) -> bool:
        """Whether there are facts about the server, and they are not too old."""
        ...

    @property
    def facts(self) -> ServerFacts | None:
        """The newest facts about the server, without asking it; None if there are none."""
        ...

    async def learn(self) -> ServerFacts:
        """The server's model and context length. Raises EndpointError."""
        ...

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        """The verdict on the last turn. Raises EndpointError."""
        ...

    async def count(self, conversation: Conversation, facts: ServerFacts | None = None) -> int | None:
        """Number of tokens of `conversation` as a prompt; None if the server cannot count. Raises EndpointError."""
        ...

    async def stream(self, request: StreamRequest) -> StreamReply | None:
        """Send the next part of a stream. The reply; None if it cannot be read. Raises EndpointError.

        Only for a server with streams, according to its facts.
        """
        ...

    async def drop_stream(self, key: str) -> None:
        """Close an open stream."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
