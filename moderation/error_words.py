"""The message of a server's error, wherever the server puts it."""

from typing import Any

# OpenAI, vLLM, LM Studio; FastAPI; and servers that name it after the error.
_KEYS = ("error", "message", "detail", "msg", "error_message", "error_msg", "status_msg", "errors")
# An object in a list in an error in a list.
_DEPTH = 5


def error_words(reply: Any, depth: int = _DEPTH) -> str:
    """The message of an error reply, as the server wrote it; empty if there is none.

    Looks into each object, since some servers have the message in one of another name, and into lists of errors only:
    those of an answer have what a model says.
    """
    if isinstance(reply, str):
        return reply if reply.strip() else ""
    if not depth:
        return ""
    parts: list[Any] = []
    if isinstance(reply, list):
        parts = reply
    elif isinstance(reply, dict):
        named = [reply[key] for key in _KEYS if key in reply]
        parts = named + [value for key, value in reply.items() if key not in _KEYS and isinstance(value, dict)]
    return next(filter(None, (error_words(part, depth - 1) for part in parts)), "")
