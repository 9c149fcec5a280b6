"""The endpoint that a doctor examines, and what was learnt of it so far."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from guard_server.doctor_problems import Failed
from guard_server.doctor_server import Reply, Server
from moderation.conversation import Conversation, kind_of
from moderation.endpoint import Endpoint
from moderation.guard import Guard
from moderation.one_token import REPLY_TOKENS
from moderation.stream_wire import as_messages
from moderation.verdict import Verdict, parse_reply


@dataclass
class Patient:
    server: Server
    endpoint: Endpoint
    guard: Guard
    wanted: str
    """The model's name as it was given, or "auto"."""
    listing: Reply
    """What /models says, once it was asked."""

    @classmethod
    @asynccontextmanager
    async def of(cls, server: Server, model: str) -> AsyncIterator["Patient"]:
        endpoint = Endpoint(server.url, server.key or "EMPTY", model, server.seconds)
        guard = Guard(endpoint, timeout=server.seconds)
        try:
            yield cls(server, endpoint, guard, model, Reply(0, ""))
        finally:
            await guard.aclose()

    @property
    def model(self) -> str | None:
        return self.endpoint.model

    @property
    def streams(self) -> bool:
        """Whether this is a Qwen3Guard-Stream, which is asked by /guard/stream and completes no chats."""
        return self.endpoint.streams

    async def complete(self, conversation: Conversation, max_tokens: int, **fields: Any) -> Reply:
        """Raises NoReply."""
        body = {"model": self.model, "messages": as_messages(conversation), "temperature": 0, "max_tokens": max_tokens}
        return await self.server.post("/chat/completions", body | fields)

    async def full_verdict(self, conversation: Conversation) -> tuple[Verdict, str]:
        """What the model says in full, read and raw.

        Raises:
            Failed: it says nothing.
            NoReply: see `doctor_problems`.
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
