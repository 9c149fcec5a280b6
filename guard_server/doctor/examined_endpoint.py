"""The endpoint that `doctor` examines, and what the checks have found so far."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from guard_server.doctor.findings import Failed, Unfit
from guard_server.doctor.raw_replies import RawReply, RawServer
from moderation.conversation import Conversation, Turn, as_messages, kind_of
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.one_token import REPLY_TOKENS
from moderation.guard import Guard
from moderation.verdict import Verdict, parse_reply

HARMLESS = [Turn("user", "How do I bake bread?")]


@dataclass
class ExaminedEndpoint:
    server: RawServer
    endpoint: Endpoint
    guard: Guard
    wanted: str
    """The model's name as given by the user, or "auto"."""
    listing: RawReply
    """The reply of /models, set by the first check."""

    @classmethod
    @asynccontextmanager
    async def of(cls, server: RawServer, model: str) -> AsyncIterator["ExaminedEndpoint"]:
        endpoint = Endpoint(server.url, server.key or "EMPTY", model, server.seconds)
        guard = Guard(endpoint, timeout=server.seconds)
        try:
            yield cls(server, endpoint, guard, model, RawReply(0, ""))
        finally:
            await guard.aclose()

    @property
    def model(self) -> str | None:
        return self.endpoint.model

    @property
    def streams(self) -> bool:
        """Whether this is a Qwen3Guard-Stream, which uses /guard/stream and has no chat completions."""
        return self.endpoint.streams

    def require_gen(self) -> None:
        """Raises Unfit for a Qwen3Guard-Stream."""
        if self.streams:
            raise Unfit("not for a Qwen3Guard-Stream")

    async def complete(self, conversation: Conversation, max_tokens: int, **fields: Any) -> RawReply:
        """Raises NoReply."""
        body = {"model": self.model, "messages": as_messages(conversation), "temperature": 0, "max_tokens": max_tokens}
        return await self.server.post("/chat/completions", body | fields)

    async def full_verdict(self, conversation: Conversation) -> tuple[Verdict, str]:
        """The model's full verdict, parsed and as text.

        Raises:
            Failed: there is no completion.
            NoReply: see findings.py.
        """
        if self.streams:
            verdict = await self.guard.judge(conversation)
            if not verdict.reached:
                raise Failed(f"/guard/stream gave no verdict: {verdict.problem}", "Read the guard's log.")
            return verdict, f"Safety: {verdict.severity}\nCategories: {', '.join(verdict.categories) or None}"
        reply = await self.complete(conversation, REPLY_TOKENS)
        if reply.completion is None:
            raise Failed(
                f"/chat/completions answered {reply.status}: {reply.excerpt}",
                "Read the guard's log. A server that offers no chat completions cannot be asked for verdicts.",
            )
        said = reply.completion.text
        return parse_reply(said, kind_of(conversation)), self.server.without_key(said)
