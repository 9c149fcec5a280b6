"""The conversation that the guard is asked about."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from moderation.verdict import Kind

Role = Literal["user", "assistant"]


class Turn(NamedTuple):
    """One message of a conversation, as text."""

    role: Role
    text: str


Conversation = Sequence[Turn]
"""Turns, oldest first. The last one is judged; the turns before it are its context."""


class WireTurn(BaseModel):
    """One message, in OpenAI's shape, on the wires of this project."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Role
    content: str


def kind_of(conversation: Conversation) -> Kind:
    """Whether the last turn is judged as a prompt or as a response."""
    return "prompt" if conversation[-1].role == "user" else "response"


def as_messages(conversation: Conversation) -> list[dict[str, str]]:
    """A conversation in OpenAI's shape."""
    return [{"role": turn.role, "content": turn.text} for turn in conversation]


def as_conversation(messages: Sequence[WireTurn]) -> Conversation:
    """Messages as they came over the wire."""
    return [Turn(message.role, message.content) for message in messages]
