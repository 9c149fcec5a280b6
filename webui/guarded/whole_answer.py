"""An unstreamed answer, read by the guard as the same answer streamed."""

from collections.abc import Sequence
from typing import NamedTuple

from moderation.answer.channels import Channels
from webui.bodies import Body, object_or_empty, objects_in
from webui.guarded.answer_reader import AnswerReader
from webui.guarded.choice import part_said, whole_said, without_text
from webui.json_text import is_text


class WholeChoice(NamedTuple):
    """One choice of a completion."""

    number: int
    text: str
    """What the guard reads."""
    media: list[str]
    """Kinds of parts that nobody can judge."""
    body: Body
    """As it may be sent to the client, if the text may be."""


class WholeAnswer:
    """A `chat.completion`.

    Raises:
        AnswerUnreadable
    """

    def __init__(self, reply: Body) -> None:
        self._reader = AnswerReader()
        self.choices: list[WholeChoice] = []
        for position, choice in enumerate(objects_in(reply.get("choices"))):
            # What is next to the choices is judged with the first.
            reader = AnswerReader() if position else self._reader
            said = {} if position else {key: value for key, value in reply.items() if key != "choices"}
            channels = Channels()
            message = whole_said(choice) or part_said(choice)
            read = {**choice, "index": 0, "message": message, "delta": None, "text": None}
            for piece in (*reader.pieces_of({**said, "choices": [read]}), *reader.pieces_at_end()):
                if piece.channel is not None:
                    channels.append(piece.channel, piece.text, is_label=piece.is_label)
            number = choice.get("index")
            number = number if isinstance(number, int) else position
            media = list(reader.media | dict.fromkeys(channels.media))
            sent = {**_empty_fields(choice), **message, **_calls(reader), "role": "assistant"}
            body = {"index": number, "message": sent, "finish_reason": reader.finish.get(0, "stop")}
            body |= without_text(choice, message)
            self.choices.append(WholeChoice(number, channels.reading().text, media, body))

    def completion(self, choices: Sequence[Body]) -> Body:
        """The completion with these choices in place of its own; without sources where the first is another."""
        is_own = bool(choices) and choices[0] is self.choices[0].body
        more = self._reader.figures | (self._reader.sources if is_own else {})
        return {**self._reader.envelope, "choices": list(choices), **more}


def _empty_fields(choice: Body) -> Body:
    """The fields of a message that say nothing, as a client may expect them: a call's content is null."""
    message = object_or_empty(choice.get("message") or choice.get("delta"))
    return {key: value for key, value in message.items() if not value and not is_text(key)}


def _calls(reader: AnswerReader) -> Body:
    """The calls of the choice that was read. Only pieces of a stream have an index."""
    calls = reader.calls_of(0)
    for call in calls.get("tool_calls", ()):
        del call["index"]
    return calls
