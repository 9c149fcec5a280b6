"""The chunks that a guarded model's client gets: OpenAI's `chat.completion.chunk`."""

from collections.abc import Iterator, Sequence
from typing import Any

from moderation.channels import Piece
from pipelines.answer_reader import AnswerReader
from pipelines.webui import Body


def chunks_of(pieces: Sequence[Piece], reader: AnswerReader) -> Iterator[Body]:
    """The chunks that say what `pieces` say: one for each text, and what holds no words in the last of its choice.

    Texts that say the same, as the reasoning of some servers under two keys, go out in one chunk.
    """
    choices: dict[int, list[Body]] = {}
    beside: Body = {}
    said_before: str | None = None
    for piece in pieces:
        if piece.channel is not None:
            frames = choices.setdefault(piece.channel.choice, [])
            if frames and said_before == piece.text:
                _merge(frames[-1]["delta"], reader.delta_of(piece))
            else:
                frames.append(_choice(piece.channel.choice, reader.delta_of(piece)))
            said_before = piece.text
            continue
        said_before = None
        payload = piece.payload
        if "beside" in payload:
            beside |= payload["beside"]
            continue
        frames = choices.setdefault(payload["choice"], [])
        if not frames or "finish_reason" in payload:
            frames.append(_choice(payload["choice"], {}))
        _merge(frames[-1]["delta"], payload.get("delta", {}))
        _merge(frames[-1], payload.get("extras", {}))
        if "finish_reason" in payload:
            frames[-1]["finish_reason"] = payload["finish_reason"]
    for frames in choices.values():
        yield from ({**reader.envelope, "choices": [frame]} for frame in frames)
    if beside:
        yield {**reader.envelope, "choices": [], **beside}


def with_role(chunk: Body) -> Body:
    """The first chunk of an answer tells who speaks."""
    choices = [{**choice, "delta": {"role": "assistant", **choice["delta"]}} for choice in chunk["choices"]]
    return {**chunk, "choices": choices}


def end_chunk(envelope: Body, reason: str) -> Body:
    return {**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def notice_chunk(envelope: Body, notice: str) -> Body:
    return {**envelope, "choices": [_choice(0, {"content": notice})]}


def retraction_chunk(envelope: Body, notice: str) -> Body:
    """Takes back what Open WebUI 0.12 has shown, and puts the notice in its place.

    Open WebUI reads `type` before `choices` (its utils/middleware.py and utils/response.py); every other client sees
    the notice after what it has.
    """
    message = {
        "type": "message",
        "id": f"msg_{envelope.get('id', 'notice')}",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": notice}],
    }
    choice = {"index": 0, "delta": {"content": f"\n\n{notice}"}, "finish_reason": "content_filter"}
    return {**envelope, "choices": [choice], "type": "response.completed", "response": {"output": [message]}}


def error_chunk(message: str, status: int) -> Body:
    return {"error": {"message": message, "type": "upstream_error", "param": None, "code": status}}


def _choice(number: int, delta: Body) -> Body:
    return {"index": number, "delta": delta, "finish_reason": None}


def _merge(into: Body, more: Body) -> None:
    """Add what a later chunk told: lists go on, as do encoded sounds; of anything else the last word counts."""
    for key, value in more.items():
        old: Any = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            into[key] = [*old, *value]
        elif key == "data" and isinstance(old, str) and isinstance(value, str):
            into[key] = old + value
        else:
            into[key] = value
