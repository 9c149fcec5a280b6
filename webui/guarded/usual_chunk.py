"""Nearly all chunks of an answer differ in nothing but the words: the next part of the texts that the one before had.

Such a chunk is read as the one before was, in a tenth of the time that taking it apart costs.
"""

from typing import NamedTuple

from moderation.answer.channels import Channel, Piece
from webui.bodies import Body, object_or_empty
from webui.json_text import PROSE_KEYS


class UsualChunk(NamedTuple):
    """A chunk that held parts of some texts and nothing else."""

    envelope: Body
    """The chunk without its choice."""
    choice: Body
    """Its choice, with the keys of the delta in place of the delta."""
    channels: dict[str, Channel]
    """Where the texts belong, by their keys in the delta."""

    def pieces_of(self, chunk: Body) -> list[Piece] | None:
        """What a chunk adds that is like this one; None if it is not."""
        choice, delta = _choice_and_delta(chunk)
        if not delta or {**choice, "delta": tuple(delta)} != self.choice or {**chunk, "choices": None} != self.envelope:
            return None
        if not all(isinstance(part, str) and part for part in delta.values()):
            return None
        return [Piece(self.channels[key], part) for key, part in delta.items() if key in self.channels]


def usual_chunk(chunk: Body, pieces: list[Piece]) -> UsualChunk | None:
    """`chunk`, taken apart into `pieces`, if other words in their place are taken apart in the same way."""
    choice, delta = _choice_and_delta(chunk)
    texts = {key: part for key, part in delta.items() if key != "role"}
    # Under these keys, words are words whatever they look like.
    if not texts or not PROSE_KEYS.issuperset(texts):
        return None
    channels = [piece.channel for piece in pieces if piece.channel is not None and not piece.is_label]
    if len(channels) != len(pieces) or [piece.text for piece in pieces] != list(texts.values()):
        return None
    envelope, around = {**chunk, "choices": None}, {**choice, "delta": tuple(delta)}
    # What is nested could be too deep to be compared.
    if any(isinstance(value, list | dict) for value in (*envelope.values(), *around.values())):
        return None
    return UsualChunk(envelope, around, dict(zip(texts, channels, strict=True)))


def _choice_and_delta(chunk: Body) -> tuple[Body, Body]:
    """Of a chunk with one choice; else empty."""
    choices = chunk.get("choices")
    choice = object_or_empty(choices[0]) if isinstance(choices, list) and len(choices) == 1 else {}
    return choice, object_or_empty(choice.get("delta"))
