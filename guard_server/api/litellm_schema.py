"""LiteLLM's generic guardrail API on the wire: the fields that are used here. See docs/api.md.

The source is LiteLLM 1.106.2, types/proxy/guardrails/guardrail_hooks/generic_guardrail_api.py.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel

from moderation.review import Message

# Qwen3Guard reads text only.
_MEDIA_PARTS = frozenset(
    (
        "image_url",
        "input_image",
        "image",
        "input_audio",
        "audio",
        "audio_url",
        "video_url",
        "video",
        "file",
        "input_file",
    )
)
# Of an unknown part, what is no text: its kind, ids, and encoded data.
_LABELS = ("type", "id", "tool_use_id", "media_type")
_ENCODED = re.compile(r"(?:data:[^\s,]{0,200};base64,)?[A-Za-z0-9+/_=-]{64,}")


class GuardrailRequest(BaseModel):
    """What LiteLLM sends before a model is asked (`request`), and after it answered, or while it does (`response`)."""

    input_type: Literal["request", "response"]
    litellm_call_id: str | None = None
    """The same for a prompt and its answer."""
    texts: list[str] | None = None
    """Every text of the messages, or of the answer so far, one for each choice."""
    structured_messages: list[dict[str, Any]] | None = None
    """The messages of the request. LiteLLM sends none with an answer."""
    tool_calls: list[Any] | None = None

    def messages(self) -> list[Message]:
        """One for each of `structured_messages`, and after them one for each text that is in none of these."""
        rows = [_message(row) for row in self.structured_messages or ()]
        seen = {text for row in self.structured_messages or () for text in (*_texts(row), *_calls(row))}
        others = dict.fromkeys(text for text in self.loose_texts() if text not in seen)
        return [*rows, *(Message("user", "", (text,)) for text in others)]

    def loose_texts(self) -> list[str]:
        """The texts and the arguments of tool calls, without their messages."""
        return [*(self.texts or ()), *map(_call, self.tool_calls or ())]

    def first_new(self) -> int:
        """Index of the first message that came after the last answer. A tool call is no answer."""
        rows = self.structured_messages or []
        answers = (at for at in range(len(rows) - 2, -1, -1) if _is_answer(rows[at]))
        return next(answers, -1) + 1


class GuardrailReply(BaseModel):
    """What LiteLLM does: go on, go on with other messages, or stop with a reason for the user."""

    action: Literal["NONE", "GUARDRAIL_INTERVENED", "BLOCKED"]
    blocked_reason: str | None = None
    """With `BLOCKED`: the notice."""
    structured_messages: list[dict[str, Any]] | None = None
    """With `GUARDRAIL_INTERVENED`: the messages, those that were refused replaced by notices."""


def replaced(row: dict[str, Any], notice: str) -> dict[str, Any] | None:
    """A message with a notice in place of its content; None if it would leave a tool call or its result alone."""
    if row.get("role") not in ("user", "assistant") or _calls(row):
        return None
    return {"role": row["role"], "content": notice}


def _is_answer(row: dict[str, Any]) -> bool:
    return row.get("role") == "assistant" and not _calls(row)


def _message(row: dict[str, Any]) -> Message:
    text, calls = "\n".join(_texts(row)), (*_calls(row), *_thoughts(row))
    if row.get("role") == "assistant":
        return Message("assistant", text, calls)
    if row.get("role") == "user":
        return Message("user", text, calls)
    # Instructions and results of tools have no place in Qwen3Guard's template: judged like prompts, but no context.
    return Message("user", "", (text, *calls))


def _texts(row: dict[str, Any]) -> list[str]:
    return [text for part in _listed(row.get("content")) for text in _texts_of_part(part)]


def _texts_of_part(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        yield part["text"]
        return
    # Of any other shape: a tool's result, a document, thoughts.
    waiting = [("", part)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str) and key not in _LABELS and not _ENCODED.fullmatch(value):
            yield value
        elif isinstance(value, list):
            waiting += [(key, item) for item in reversed(value)]
        elif isinstance(value, dict) and str(value.get("type")) not in _MEDIA_PARTS:
            waiting += reversed(value.items())


def _thoughts(row: dict[str, Any]) -> list[str]:
    said = (row.get("reasoning_content"), row.get("refusal"))
    return [text for text in said if isinstance(text, str) and text]


def _calls(row: dict[str, Any]) -> list[str]:
    legacy = [{"function": row["function_call"]}] if row.get("function_call") else []
    return [_call(call) for call in [*_listed(row.get("tool_calls")), *legacy]]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _call(call: Any) -> str:
    """A call's arguments as text; all of a call that has no arguments in the usual place."""
    function = call.get("function") if isinstance(call, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return arguments if isinstance(arguments, str) else json.dumps(call, ensure_ascii=False)
