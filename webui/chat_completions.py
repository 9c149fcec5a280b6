"""The shapes of OpenAI's chat completions that this project writes itself, whole and in chunks."""

import time
import uuid

from webui.bodies import Body


def completion_head(model: str) -> Body:
    """What tells one completion from another."""
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


def completion(head: Body, choices: list[Body]) -> Body:
    """A whole `chat.completion`."""
    return {**head, "object": "chat.completion", "choices": choices}


def message_choice(text: str, finish_reason: str, number: int = 0) -> Body:
    """A choice of a whole completion that says `text`."""
    return {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}


def delta_choice(delta: Body, number: int = 0, finish_reason: str | None = None) -> Body:
    """A choice of a chunk."""
    return {"index": number, "delta": delta, "finish_reason": finish_reason}


def chunk_head(model: str) -> Body:
    """The envelope of an answer that we write alone."""
    return {**completion_head(model), "object": "chat.completion.chunk"}


def chunk(envelope: Body, *choices: Body) -> Body:
    """A chunk of a streamed answer.

    Args:
        envelope: what every chunk of the answer repeats.
        choices: see `delta_choice`.
    """
    return {**envelope, "choices": list(choices)}


def end_chunk(envelope: Body, reason: str) -> Body:
    """The last chunk of an answer."""
    return chunk(envelope, delta_choice({}, finish_reason=reason))


def text_chunk(envelope: Body, text: str) -> Body:
    """A chunk that adds `text` to the first choice."""
    return chunk(envelope, delta_choice({"content": text}))


def with_role(first: Body) -> Body:
    """The first chunk of an answer, which says who speaks."""
    choices = [{**choice, "delta": {"role": "assistant", **choice["delta"]}} for choice in first["choices"]]
    return {**first, "choices": choices}


def error_chunk(message: str, status: int) -> Body:
    """What a stream says of an error, in place of a chunk."""
    return {"error": {"message": message, "type": "upstream_error", "param": None, "code": status}}
