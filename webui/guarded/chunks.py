"""From the pieces of an answer to the chunks that a guarded model's client gets."""

from collections.abc import Iterator, Sequence
from typing import Any

from moderation.answer.channels import Piece
from webui.bodies import Body, output_item
from webui.chat_completions import chunk, delta_choice
from webui.guarded.answer_reader import AnswerReader


def chunks_of(pieces: Sequence[Piece], reader: AnswerReader) -> Iterator[Body]:
    """The chunks that say what `pieces` say: one for each text, and what holds no words in the last of its choice.

    Texts that say the same, as the reasoning of some servers under two keys, go out in one chunk.
    """
    choices: dict[int, list[Body]] = {}
    top_level: Body = {}
    said_before: str | None = None
    for piece in pieces:
        if piece.channel is not None:
            frames = choices.setdefault(piece.channel.choice, [])
            if frames and said_before == piece.text:
                _merge(frames[-1]["delta"], reader.delta_of(piece))
            else:
                frames.append(delta_choice(reader.delta_of(piece), piece.channel.choice))
            said_before = piece.text
            continue
        said_before = None
        payload = piece.payload
        if "top_level" in payload:
            top_level |= payload["top_level"]
            continue
        frames = choices.setdefault(payload["choice"], [])
        if not frames or "finish_reason" in payload:
            frames.append(delta_choice({}, payload["choice"]))
        _merge(frames[-1]["delta"], payload.get("delta", {}))
        _merge(frames[-1], payload.get("extras", {}))
        if "finish_reason" in payload:
            frames[-1]["finish_reason"] = payload["finish_reason"]
    for frames in choices.values():
        yield from (chunk(reader.envelope, frame) for frame in frames)
    if top_level:
        yield {**chunk(reader.envelope), **top_level}


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
