"""The wire to a Qwen3Guard-Stream that `guard_server` serves: plain POSTs, see docs/guard-stream.md.

A WebSocket would save nothing: one request is in flight for each answer, and connections are kept open.
"""

import openai
from pydantic import ValidationError

from moderation.conversation import Conversation, Turn, WireTurn, kind_of
from moderation.errors import StreamLost
from moderation.stream.stream_schema import (
    STREAM_PATH,
    StreamOffer,
    StreamReply,
    StreamRequest,
    answer_verdict,
    prompt_verdict,
)
from moderation.verdict import Category, Verdict


class StreamWire:
    """Requests over an endpoint's client; does not convert its errors."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def offered(self) -> bool:
        """Whether there is a stream endpoint. Some proxies reply to all addresses with a page, which does not count."""
        try:
            StreamOffer.model_validate_json(await self._client.get(STREAM_PATH, cast_to=str))
        except (openai.APIStatusError, ValidationError):
            return False
        return True

    async def send(self, request: StreamRequest) -> StreamReply | None:
        """Send one part of a stream. The reply; None if it cannot be read.

        Raises:
            StreamLost: the stream must be opened again, with all text.
        """
        try:
            reply = await self._client.post(STREAM_PATH, cast_to=str, body=request.model_dump(exclude_unset=True))
        except (openai.NotFoundError, openai.ConflictError) as error:
            if request.id is None:
                raise
            raise StreamLost(error.message) from error
        try:
            return StreamReply.model_validate_json(reply)
        except ValidationError:
            return None

    async def drop(self, key: str) -> None:
        """Close an open stream."""
        await self._client.delete(f"{STREAM_PATH}/{key}", cast_to=str)

    async def judge(self, conversation: Conversation) -> Verdict:
        """Judge a whole turn. For a flagged answer, find all categories, one request each: a policy may allow some."""
        request = whole_turn(conversation)
        first = verdict = whole_verdict(await self.send(request), conversation)
        if kind_of(conversation) == "prompt":
            return first
        found: list[Category] = []
        while verdict.categories and len(found) < len(Category):
            found += verdict.categories
            again = request.model_copy(update={"allowed_categories": list(found)})
            verdict = whole_verdict(await self.send(again), conversation)
        return first.model_copy(update={"categories": tuple(found)})


def whole_turn(conversation: Conversation) -> StreamRequest:
    """The single request that judges the last turn as a whole."""
    if kind_of(conversation) == "prompt":
        return StreamRequest(messages=wire_turns(conversation), end=True)
    *context, answer = conversation
    return StreamRequest(messages=opening_turns(context), text=answer.text, end=True)


def whole_verdict(reply: StreamReply | None, conversation: Conversation) -> Verdict:
    """The verdict in the reply to `whole_turn`; for an answer, at its unsafe place, else at its controversial one."""
    if reply is not None and not reply.final:
        # A verdict on a part is not one on the turn.
        reply = None
    return prompt_verdict(reply) if kind_of(conversation) == "prompt" else answer_verdict(reply, "loose")


def opening_turns(context: Conversation) -> list[WireTurn]:
    """`context` as a stream requires it: an answer follows a user turn, which may be empty."""
    ends_with_user = bool(context) and context[-1].role == "user"
    return wire_turns(context if ends_with_user else [*context, Turn("user", "")])


def wire_turns(conversation: Conversation) -> list[WireTurn]:
    """A conversation in the wire's schema."""
    return [WireTurn(role=turn.role, content=turn.text) for turn in conversation]
