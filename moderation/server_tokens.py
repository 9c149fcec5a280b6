"""What a server's own tokenizer says, where it has one that can be asked: verdicts come without it too."""

from collections.abc import Mapping
from typing import Any, TypeVar

import openai
from pydantic import BaseModel

from moderation.completion_wire import CompletionWire
from moderation.conversation import Conversation
from moderation.errors import EndpointRefused
from moderation.prefill import VERDICT_PREFILL
from moderation.problems import is_too_long
from moderation.replies import OddReply, TokenCount, TokenIds
from moderation.server_facts import ServerFacts, ServerRecord
from moderation.stream_wire import as_messages
from moderation.verdict import Severity

TEMPLATE_TOKENS = 1024
"""What is allowed for Qwen3Guard-Gen's template where it is not counted: it is about 600 tokens of instruction."""
# It has a `/tokenize` of its own, for plain text, and no log-probabilities of tokens that are asked for by id.
_LLAMA_CPP = "llamacpp"

_Told = TypeVar("_Told", bound=BaseModel)


class ServerTokens:
    """Asks over `wire`, and notes in `record` what is of no use. Never raises for what a server does."""

    def __init__(self, wire: CompletionWire, record: ServerRecord) -> None:
        self._wire = wire
        self._record = record

    async def count(self, facts: ServerFacts, conversation: Conversation) -> int | None:
        """Tokens of the prompt that `conversation` makes, template included; None where the server cannot tell."""
        if facts.owner == _LLAMA_CPP:
            told = await self._ask(facts, {"content": "\n".join(turn.text for turn in conversation)}, TokenIds)
            return len(told.tokens) + TEMPLATE_TOKENS if told else None
        counted = await self._ask(facts, {"messages": as_messages(conversation)}, TokenCount)
        return counted.count if counted else None

    async def label_ids(self, facts: ServerFacts) -> tuple[int, ...]:
        """The first token of each label behind the prefill; vocabularies differ, so the server is asked, once.

        Empty where they cannot be had.
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
        """None where `/tokenize` is no help, whatever the reason."""
        if not self._record.newest(facts).can_tokenize:
            return None
        try:
            return await self._wire.tokenize({"model": facts.model, **body}, shape)
        except (openai.OpenAIError, OddReply, EndpointRefused) as error:
            too_large = isinstance(error, EndpointRefused) or (
                isinstance(error, openai.APIStatusError) and is_too_long(error)
            )
            # What is too much of one text says nothing about others.
            self._record.note(facts, can_tokenize=too_large)
            return None
