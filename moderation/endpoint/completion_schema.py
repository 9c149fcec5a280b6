"""Requests to a server of Qwen3Guard-Gen, with validated replies."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import openai
from pydantic import BaseModel

from moderation.conversation import Conversation, as_messages
from moderation.endpoint.prefill import prefilled
from moderation.endpoint.quick_post import QuickPost
from moderation.endpoint.replies import GuardCompletion, ListedModel, ModelListing, read_reply

# `/tokenize` takes milliseconds, and verdicts do not need it.
_TOKENIZE_SECONDS = 2.0

_Reply = TypeVar("_Reply", bound=BaseModel)


class CompletionCost(NamedTuple):
    """The cost of all completions so far."""

    requests: int = 0
    """Including those without a reply."""
    prompt_tokens: int = 0
    """As counted by the server; 0 if it does not count."""
    generated_tokens: int = 0


class CompletionWire:
    """Uses an endpoint's client, and `post` for verdicts; does not convert their errors.

    All methods raise openai.OpenAIError, OddReply for a reply of another shape, and EndpointRefused for one that is
    too large.
    """

    def __init__(self, client: openai.AsyncOpenAI, base_url: str, post: QuickPost) -> None:
        self._client = client
        self._post = post
        self._once = client.with_options(timeout=_TOKENIZE_SECONDS, max_retries=0)
        # In vLLM it is next to /v1, not below it.
        self._tokenize_url = f"{base_url.removesuffix('/v1')}/tokenize"
        self.cost = CompletionCost()

    async def models(self) -> list[ListedModel]:
        """The server's list of models."""
        return read_reply(await self._client.get("/models", cast_to=str), ModelListing).models

    async def complete(
        self, model: str, conversation: Conversation, max_tokens: int, *, prefill: str | None = None, **options: Any
    ) -> GuardCompletion:
        """The guard's reply about the last turn; the continuation of `prefill` if the server honours it."""
        body = {
            "model": model,
            "messages": as_messages(conversation),
            "temperature": 0,
            "max_tokens": max_tokens,
            **options,
            **({} if prefill is None else prefilled(prefill)),
        }
        self.cost = self.cost._replace(requests=self.cost.requests + 1)
        reply = read_reply(await self._post("/chat/completions", body), GuardCompletion)
        if reply.usage is not None:
            requests, prompt, generated = self.cost
            used = reply.usage
            self.cost = CompletionCost(requests, prompt + used.prompt_tokens, generated + used.completion_tokens)
        return reply

    async def tokenize(self, body: Mapping[str, Any], shape: type[_Reply]) -> _Reply:
        """The reply of vLLM's `/tokenize`, in one attempt."""
        return read_reply(await self._once.post(self._tokenize_url, cast_to=str, body=body), shape)
