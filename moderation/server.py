"""One server of Qwen3Guard, as `Guard` asks it: over HTTP (see `moderation.endpoint`), or an engine in this process."""

from typing import Any, Protocol

from moderation.conversation import Conversation
from moderation.server_facts import ServerFacts
from moderation.verdict import Verdict


class Server(Protocol):
    """Judges one conversation at a time that fits its context."""

    @property
    def base_url(self) -> str:
        """Where it is, for who reads an error."""
        ...

    @property
    def model(self) -> str | None:
        """The name of the guard that answered last; None until one did, and once the server has it no more."""
        ...

    @property
    def learnt(self) -> bool:
        """Whether the server is known, and was asked not long ago."""
        ...

    async def learn(self) -> ServerFacts:
        """Which model the server has, and its context length. Raises EndpointError."""
        ...

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        """The verdict of the last turn. Raises EndpointError."""
        ...

    async def count(self, conversation: Conversation, facts: ServerFacts | None = None) -> int | None:
        """Tokens of the prompt that `conversation` makes; None where the server cannot tell. Raises EndpointError."""
        ...

    async def stream(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send the next part of a stream: of one whose facts say that it has streams. Raises EndpointError."""
        ...

    async def drop_stream(self, key: str) -> None:
        """Forget an open stream."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
