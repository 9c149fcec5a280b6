"""A streamed answer's chunks, taken apart into what must be judged, and put together again.

Shapes: OpenAI's `chat.completion.chunk`, with the `reasoning_content` and `reasoning` of vLLM, DeepSeek and Ollama.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from moderation.holdback import Piece
from pipelines.webui import Body, object_or_empty, objects_in

_TEXTS = ("reasoning_content", "reasoning", "content")
_REST = "rest"
# What a chunk says of itself, and what of a choice is no text.
_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_NO_TEXT = ("role", "type", "index", "id", "finish_reason", "stop_reason", "logprobs", "token_ids")


def pieces_of(chunk: Body) -> Iterator[Piece]:
    """What a chunk adds to the answer, in the order in which it is read."""
    beside = {key: value for key, value in chunk.items() if key not in (*_ENVELOPE, "choices") and value is not None}
    for choice in objects_in(chunk.get("choices")):
        yield from _pieces_of_choice(choice)
    if beside:
        yield Piece(_REST, payload=beside)


def _pieces_of_choice(choice: Body) -> Iterator[Piece]:
    number = choice.get("index") or 0
    delta = {key: value for key, value in object_or_empty(choice.get("delta")).items() if value not in (None, "", [])}
    # Ollama repeats the role in every chunk; it is said once, in the first that goes out.
    delta.pop("role", None)
    for key in _TEXTS:
        if isinstance(delta.get(key), str):
            yield Piece(f"{number}:{key}", delta.pop(key))
    calls = list(objects_in(delta.pop("tool_calls", None)))
    for key, value in delta.items():
        # Nobody told us of this key, so it is judged like any text.
        yield _rest(number, {key: value}, "\n".join(_strings_in(value)))
    for call in calls:
        text = " ".join(_strings_in(call.get("function")))
        channel = f"{number}:tool:{call.get('index', 0)}"
        yield Piece(channel, text, {"choices": [_choice(number, {"tool_calls": [call]})]}, whole=True)
    told = {key: value for key, value in choice.items() if key not in ("index", "delta") and value is not None}
    if told:
        yield Piece(_REST, "\n".join(_strings_in(told)), {"choices": [_choice(number, {}) | told]})


def _rest(number: int, delta: Body, text: str = "") -> Piece:
    return Piece(_REST, text, {"choices": [_choice(number, delta)]})


def chunks_of(pieces: Sequence[Piece], envelope: Body) -> Iterator[Body]:
    """The chunks that say what `pieces` say: one for each run of text in one channel."""
    for piece in pieces:
        if piece.payload is not None:
            yield {**envelope, "choices": [], **piece.payload}
        elif piece.text:
            number, _, key = piece.channel.partition(":")
            yield {**envelope, "choices": [_choice(int(number), {key: piece.text})]}


def envelope_of(chunk: Body) -> Body:
    """What every chunk of one answer repeats."""
    return {key: chunk[key] for key in _ENVELOPE if key in chunk}


def finishes(chunk: Body) -> bool:
    return any(choice.get("finish_reason") for choice in objects_in(chunk.get("choices")))


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
    the notice behind what it has.
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


def answer_texts(choice: Body) -> str:
    """All text of an unstreamed choice, as the pieces of a streamed one would give it."""
    message = object_or_empty(choice.get("message"))
    told = {key: value for key, value in choice.items() if key not in ("index", "message")}
    first = [message.get(key) for key in _TEXTS]
    others = [value for key, value in message.items() if key not in (*_TEXTS, *_NO_TEXT)]
    return "\n".join(text for value in (*first, *others, told) for text in _strings_in(value))


def _strings_in(value: Any) -> Iterator[str]:
    """Every text in a value of any shape, keys and what is no text left out."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NO_TEXT:
                yield from _strings_in(item)


def _choice(number: int, delta: Body) -> Body:
    return {"index": number, "delta": delta, "finish_reason": None}
