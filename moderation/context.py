"""The turns before the judged one, as a guard reads them. Each turn is read, hashed and counted once.

A chat is a linked list with chained keys: its key is a hash of the key of the chat without its last turn, and of that
turn. So one more turn in a chat of a thousand turns costs one short hash.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from moderation.conversation import Role, Turn

KEY_BYTES = 16
"""128 bits: finding two texts with the same key is infeasible."""


class TurnReading(NamedTuple):
    """One text as a guard reads it."""

    seen: str
    """The text as its reader sees it. Empty if nothing is visible."""
    undone: str | None
    """The text with its obfuscation undone. None if there is no obfuscation."""
    digest: bytes
    """Hash of `seen`: 16 bytes."""
    size: int
    """UTF-8 bytes of `seen`: an upper bound on its tokens for a byte-level tokenizer."""


class Context:
    """A chat up to some turn. Immutable: one more turn makes a new `Context` that links to this one.

    Args:
        before: the chat without its last turn. None for the empty chat.
    """

    __slots__ = ("_asked", "before", "key", "length", "role", "size", "text")

    def __init__(self, before: "Context | None", role: Role, reading: TurnReading, key: bytes) -> None:
        self.before = before
        self.role: Role = role
        self.text = reading.seen
        self.size = reading.size
        self.key = key
        """Hash of all turns: 16 bytes. A cache that uses it as key keeps no user's text in memory."""
        self.length: int = 0 if before is None else before.length + 1
        """Number of turns."""
        self._asked: tuple[Role, bytes, bytes] | None = None

    def then(self, role: Role, reading: TurnReading) -> "Context":
        """The chat with one more turn. A turn without visible text is left out."""
        return Context(self, role, reading, self._key_of(role, reading)) if reading.seen else self

    def key_with(self, role: Role, reading: TurnReading) -> bytes:
        """The cache key for the verdict on one more turn. It covers both readings of that turn."""
        key = self._key_of(role, reading)
        return key if reading.undone is None else text_key(reading.undone, key)

    def newest_first(self) -> Iterator["Context"]:
        """Yield this chat, the chat without its last turn, and so on, down to the chat of one turn."""
        node = self
        while node.before is not None:
            yield node
            node = node.before

    def turns(self, start: int) -> list[Turn]:
        """The turns from index `start` (0-based) to the end."""
        found = []
        for node in self.newest_first():
            if node.length <= start:
                break
            found.append(Turn(node.role, node.text))
        return found[::-1]

    def _key_of(self, role: Role, reading: TurnReading) -> bytes:
        # The last key is cached: most turns need it twice in a row, for their verdict and as the next turn's context.
        if self._asked is None or self._asked[0] != role or self._asked[1] is not reading.digest:
            data = self.key + role[:1].encode() + reading.digest
            self._asked = role, reading.digest, _hash(data)
        return self._asked[2]


NO_CONTEXT = Context(None, "user", TurnReading("", None, b"", 0), b"")
"""The empty chat."""


def text_key(text: str, start: bytes = b"") -> bytes:
    """A 16-byte hash of `start` and `text`. Lone surrogates are allowed."""
    return _hash(start + text.encode("utf-8", "surrogatepass"))


def _hash(data: bytes) -> bytes:
    # SHA-256 is fast: processors have instructions for it.
    return hashlib.sha256(data).digest()[:KEY_BYTES]
