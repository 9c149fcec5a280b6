"""The wire to a Qwen3Guard-Stream behind `guard_server`: plain POSTs, as docs/guard-stream.md has them.

A WebSocket would save nothing: one request is in flight for each answer, and connections are kept open.
"""

import json
from typing import Any

import openai

from moderation.conversation import Conversation, Turn, kind_of
from moderation.errors import StreamLost
from moderation.stream_verdict import answer_verdict, prompt_verdict
from moderation.verdict import Category, Verdict

_PATH = "/guard/stream"


class StreamWire:
    """Requests over an endpoint's client, whose errors it leaves as they are."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def offered(self) -> bool:
        """Whether there is a stream endpoint. It answers in JSON; a page is what some proxies say to everything."""
        try:
            return _json_or_none(await self._client.get(_PATH, cast_to=str)) is not None
        except openai.APIStatusError:
            return False

    async def send(self, body: dict[str, Any]) -> dict[str, Any]:
        """One part of a stream, for the reply. Raises StreamLost where it must be opened again, with all text."""
        try:
            reply = await self._client.post(_PATH, cast_to=str, body=body)
        except (openai.NotFoundError, openai.ConflictError) as error:
            if "id" not in body:
                raise
            raise StreamLost(error.message) from error
        found = _json_or_none(reply)
        # What is missing in it is told where it is needed.
        return found if isinstance(found, dict) else {}

    async def drop(self, key: str) -> None:
        """Forget an open stream."""
        await self._client.delete(f"{_PATH}/{key}", cast_to=str)

    async def judge(self, conversation: Conversation) -> Verdict:
        """A whole turn. Of a flagged answer all categories are found, one request each: a policy may allow some."""
        body = whole_turn(conversation)
        first = verdict = whole_verdict(await self.send(body), conversation)
        if kind_of(conversation) == "prompt":
            return first
        found: list[Category] = []
        while verdict.categories and len(found) < len(Category):
            found += verdict.categories
            verdict = whole_verdict(await self.send({**body, "allowed_categories": found}), conversation)
        return first.model_copy(update={"categories": tuple(found)})


def _json_or_none(text: str) -> Any:
    """None where the text is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def whole_turn(conversation: Conversation) -> dict[str, Any]:
    """The one request that has the last turn judged as a whole."""
    if kind_of(conversation) == "prompt":
        return {"messages": as_messages(conversation), "end": True}
    *context, answer = conversation
    return {"messages": as_messages(ending_with_user(context)), "text": answer.text, "end": True}


def whole_verdict(reply: dict[str, Any], conversation: Conversation) -> Verdict:
    """What the reply to `whole_turn` says; of an answer, as far as it is unsafe, else as far as it is controversial."""
    return prompt_verdict(reply) if kind_of(conversation) == "prompt" else answer_verdict(reply, "loose")


def ending_with_user(context: Conversation) -> Conversation:
    """`context` as a stream wants it: an answer answers a user, who may have said nothing."""
    return context if context and context[-1].role == "user" else [*context, Turn("user", "")]


def as_messages(conversation: Conversation) -> list[dict[str, str]]:
    """A conversation in OpenAI's shape."""
    return [{"role": turn.role, "content": turn.text} for turn in conversation]
