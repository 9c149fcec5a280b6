"""The events that a reader gets of one answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from functions.answers.one_event import one_event
from moderation.answer.channels import Piece
from moderation.answer.pauses import in_parts
from moderation.conversation import Turn
from webui.bodies import Body
from webui.chat_completions import end_chunk, text_chunk, with_role
from webui.guarded.answer_reader import AnswerReader
from webui.guarded.chunks import Chunks, retraction_chunk

NO_EVENT: Body = {}
"""In place of an event of which nothing is shown now."""


class StreamTerms(NamedTuple):
    """How an answer is shown."""

    context: list[Turn]
    """The conversation before the answer, as it is sent to the model."""
    preface: str = ""
    """What the answer begins with."""
    sources: Sequence[Any] = ()
    """What Open WebUI itself found for the prompt, which was judged with it."""
    hold: bool = True
    """Nothing is shown before it was judged."""
    retracts: bool = False
    """The page takes back a shown answer when it gets a retraction."""
    on_page: bool = False
    """A page reads the answer, so that its making can be stopped as the user would stop it."""


class ShownEvents:
    """Words them.

    Args:
        reader: reads the answer.
        terms: how it is shown.
    """

    def __init__(self, reader: AnswerReader, terms: StreamTerms) -> None:
        self._reader = reader
        self._preface = terms.preface
        self._retracts = terms.retracts
        self.any = False
        """Whether the reader has seen anything."""

    async def of(self, released: Sequence[Piece]) -> Body:
        """The event that says what may be shown."""
        if not released:
            return NO_EVENT
        chunks = Chunks(self._reader)
        async for part in in_parts(released):
            chunks.add(part)
        preface = [text_chunk(self._reader.envelope, self._preface)] if self._preface else []
        self._preface = ""
        event = one_event([*preface, *chunks])
        if event["choices"] and not self.any:
            self.any = True
            event = with_role(event)
        return event

    def notice(self, words: str, finish_reason: str) -> Body:
        """The last event of an answer that may not be shown, or not to its end."""
        envelope = self._reader.envelope
        if self.any and self._retracts:
            return retraction_chunk(envelope, words)
        said = text_chunk(envelope, f"\n\n{words}" if self.any else words)
        event = one_event([said, end_chunk(envelope, finish_reason)])
        return event if self.any else with_role(event)

    def figures(self, event: Body) -> Body:
        """The event with the usage that comes after the end."""
        for _ in self._reader.pieces_of({**event, "choices": []}):
            pass
        figures = self._reader.figures
        return {**self._reader.envelope, "choices": [], **figures} if figures else NO_EVENT
