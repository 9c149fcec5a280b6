"""What the guard is asked about."""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from moderation.verdict import Kind


class Turn(NamedTuple):
    """One message of a conversation, as text."""

    role: Literal["user", "assistant"]
    text: str


Conversation = Sequence[Turn]
"""Turns, oldest first. The last one is judged; those before it are its context."""


def kind_of(conversation: Conversation) -> Kind:
    """Whether the last turn is judged as a prompt or as a response."""
    return "prompt" if conversation[-1].role == "user" else "response"


def digest(conversation: Conversation) -> bytes:
    """SHA-256 over roles and texts: a key that keeps nobody's words in memory."""
    sha = hashlib.sha256()
    for role, text in conversation:
        data = text.encode("utf-8", "surrogatepass")
        sha.update(f"{role}:{len(data)}:".encode())
        sha.update(data)
    return sha.digest()
