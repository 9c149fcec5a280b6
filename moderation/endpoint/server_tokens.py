"""Asks a server's tokenizer, if it offers one. Verdicts do not need it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import openai
from pydantic import BaseModel

from moderation.conversation import Conversation, as_messages
from moderation.endpoint.completion_schema import CompletionWire
from moderation.endpoint.prefill import VERDICT_PREFILL
from moderation.endpoint.problems import is_too_long
from moderation.endpoint.replies import OddReply, TokenCount, TokenIds
from moderation.endpoint.server_facts import ServerFacts, ServerRecord
from moderation.errors import EndpointRefused
from moderation.verdict import Severity

TEMPLATE_TOKENS = 1024
"""Tokens reserved for Qwen3Guard-Gen's template if the server does not count them: it has about 600."""
# Its `/tokenize` is another one, for plain text, and it cannot return log-probabilities for given token ids.
_LLAMA_CPP = "llamacpp"

_Told = TypeVar("_Told", bound=BaseModel)


class ServerTokens:
    """Uses `wire`, and records in `record` what does not work. Never raises for errors of the server."""

    def __init__(self, wire: CompletionWire, record: ServerRecord) -> None:
        self._wire = wire
        self._record = record

    async def count(self, facts: ServerFacts, conversation: Conversation) -> int | None:
        """Number of tokens of `conversation` as a prompt, template included; None if the server cannot count."""
        if facts.owner == _LLAMA_CPP:
            read = await self._ask(facts, {"content": "\n".join(turn.text for turn in conversation)}, TokenIds)
            return len(read.tokens) + TEMPLATE_TOKENS if read else None
        counted = await self._ask(facts, {"messages": as_messages(conversation)}, TokenCount)
        return counted.count if counted else None

    async def label_ids(self, facts: ServerFacts) -> tuple[int, ...]:
        """The first token of each label after the prefill. Vocabularies differ, so the server is asked, once.

        Empty if they are unavailable.
        """
        facts = self._record.newest(facts)
        if facts.owner == _LLAMA_CPP:
            return ()
        if facts.label_ids is None:
            found = await self._look_up_labels(facts)
            self._record.note(facts, label_ids=found)
            return found
        return facts.label_ids

    async def _look_up_labels(self, facts: ServerFacts) -> tuple[int, ...]:
        found: list[list[int]] = []
        for text in (VERDICT_PREFILL, *(f"{VERDICT_PREFILL} {severity}" for severity in Severity)):
            reply = await self._ask(facts, {"prompt": text, "add_special_tokens": False}, TokenIds)
            if reply is None:
                return ()
            found.append(reply.tokens)
        prefix, *labels = found
        if not all(len(ids) > len(prefix) and ids[: len(prefix)] == prefix for ids in labels):
            return ()
        ids = tuple(label[len(prefix)] for label in labels)
        return ids if len(set(ids)) == len(ids) else ()

    async def _ask(self, facts: ServerFacts, body: Mapping[str, Any], shape: type[_Told]) -> _Told | None:
        """None if `/tokenize` fails for any reason."""
        if not self._record.newest(facts).can_tokenize:
            return None
        try:
            return await self._wire.tokenize({"model": facts.model, **body}, shape)
        except (openai.OpenAIError, OddReply, EndpointRefused) as error:
            too_large = isinstance(error, EndpointRefused) or (
                isinstance(error, openai.APIStatusError) and is_too_long(error)
            )
            # If one text is too long, others may still work.
            self._record.note(facts, can_tokenize=too_large)
            return None
