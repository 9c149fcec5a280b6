"""From the pieces of an answer to the chunks that a guarded model's client gets."""

from collections.abc import Iterable, Iterator
from typing import Any

from moderation.answer.channels import Piece
from webui.bodies import Body, output_item
from webui.chat_completions import chunk, delta_choice
from webui.guarded.answer_reader import AnswerReader


class Chunks:
    """The chunks that say what some pieces say: one for each text, and what holds no words in the last of its choice.

    Texts that say the same, as the reasoning of some servers under two keys, go out in one chunk.

    Args:
        reader: has read the answer.
    """

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader
        self._choices: dict[int, list[Body]] = {}
        self._top_level: Body = {}
        self._said_before: str | None = None

    def add(self, pieces: Iterable[Piece]) -> None:
        """Say these too."""
        for piece in pieces:
            if piece.channel is not None:
                self._say(piece.channel.choice, piece)
                continue
            self._said_before = None
            if "top_level" in piece.payload:
                self._top_level |= piece.payload["top_level"]
            else:
                self._add_payload(piece.payload)

    def __iter__(self) -> Iterator[Body]:
        for frames in self._choices.values():
            yield from (chunk(self._reader.envelope, frame) for frame in frames)
        if self._top_level:
            yield {**chunk(self._reader.envelope), **self._top_level}

    def _say(self, choice: int, piece: Piece) -> None:
        frames = self._choices.setdefault(choice, [])
        if frames and self._said_before == piece.text:
            _merge(frames[-1]["delta"], self._reader.delta_of(piece))
        else:
            frames.append(delta_choice(self._reader.delta_of(piece), choice))
        self._said_before = piece.text

    def _add_payload(self, payload: Body) -> None:
        frames = self._choices.setdefault(payload["choice"], [])
        if not frames or "finish_reason" in payload:
            frames.append(delta_choice({}, payload["choice"]))
        _merge(frames[-1]["delta"], payload.get("delta", {}))
        _merge(frames[-1], payload.get("extras", {}))
        if "finish_reason" in payload:
            frames[-1]["finish_reason"] = payload["finish_reason"]


def chunks_of(pieces: Iterable[Piece], reader: AnswerReader) -> Chunks:
    """The chunks that say what `pieces` say."""
    chunks = Chunks(reader)
    chunks.add(pieces)
    return chunks


def retraction_chunk(envelope: Body, notice: str) -> Body:
    """Takes back what Open WebUI 0.12 has shown, and puts the notice in its place.

    Open WebUI reads `type` before `choices` (its utils/middleware.py and utils/response.py); every other client sees
    the notice after what it has.
    """
    said = delta_choice({"content": f"\n\n{notice}"}, finish_reason="content_filter")
    output = [output_item(envelope.get("id"), notice)]
    return {**chunk(envelope, said), "type": "response.completed", "response": {"output": output}}


def _merge(into: Body, more: Body) -> None:
    """Add what a later chunk says: lists are continued, as is encoded sound; of anything else the last value counts.

    `into` grows in place, since many chunks may be merged; what it takes from `more` is copied, as `more` must stay.
    """
    for key, value in more.items():
        old: Any = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            old += value
        elif key == "data" and isinstance(old, str) and isinstance(value, str):
            into[key] = old + value
        else:
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    """With lists and objects of its own, as deep as `_merge` changes them."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value
