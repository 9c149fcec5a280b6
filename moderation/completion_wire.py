"""Requests to a server of Qwen3Guard-Gen, and its replies, read as what they have to be."""

from collections.abc import Mapping
from typing import Any, TypeVar

import openai
from pydantic import BaseModel

from moderation.conversation import Conversation
from moderation.prefill import prefilled
from moderation.replies import GuardCompletion, ListedModel, ModelListing, read_reply
from moderation.stream_wire import as_messages

# `/tokenize` takes milliseconds, and verdicts come without it too.
_TOKENIZE_SECONDS = 2.0

_Reply = TypeVar("_Reply", bound=BaseModel)


class CompletionWire:
    """Over an endpoint's client, whose errors it leaves as they are.

    All methods raise openai.OpenAIError, OddReply for a reply of another shape, and EndpointRefused for one that is
    too large.
    """

    def __init__(self, client: openai.AsyncOpenAI, base_url: str) -> None:
        self._client = client
        self._once = client.with_options(timeout=_TOKENIZE_SECONDS, max_retries=0)
        # vLLM has it beside /v1.
        self._tokenize_url = f"{base_url.removesuffix('/v1')}/tokenize"

    async def models(self) -> list[ListedModel]:
        """What the server lists."""
        return read_reply(await self._client.get("/models", cast_to=str), ModelListing).models

    async def complete(
        self, model: str, conversation: Conversation, max_tokens: int, *, prefill: str | None = None, **options: Any
    ) -> GuardCompletion:
        """What the guard says of the last turn; behind `prefill`, where the server honours that."""
        body = {
            "model": model,
            "messages": as_messages(conversation),
            "temperature": 0,
            "max_tokens": max_tokens,
            **options,
            **({} if prefill is None else prefilled(prefill)),
        }
        # `chat.completions.create` would walk through every message to convert what is plain JSON already, which is a
        # fifth of a check's cost on a busy server.
        return read_reply(await self._client.post("/chat/completions", cast_to=str, body=body), GuardCompletion)

    async def tokenize(self, body: Mapping[str, Any], shape: type[_Reply]) -> _Reply:
        """What vLLM's `/tokenize` says, in one attempt."""
        return read_reply(await self._once.post(self._tokenize_url, cast_to=str, body=body), shape)
