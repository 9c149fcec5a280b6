"""The notice that the filter sends to the refusal model, inside a request that passes through Open WebUI; the reply.

It is signed, since any API client can send extra keys, and the refusal model must not say what a client wants said.
"""

from collections.abc import Iterator
from typing import Any

from moderation.notices.notice import NoticeKind, Notices
from pipelines.marks.signing import is_signed, sign
from webui.bodies import is_neutral_answer
from webui.chat_completions import (
    chunk_head,
    completion,
    completion_head,
    end_chunk,
    message_choice,
    text_chunk,
    with_role,
)
from webui.guard_hint import HINT_START

# Open WebUI's Models page lists it with a switch.
REFUSAL_NAME = "Qwen3Guard notices (keep this on: if it is off, chat models say them)"
# Open WebUI hands keys that it does not know on to pipelines.
REPLY_KEY = "qwen3guard_reply"


def attach(body: dict[str, Any], text: str) -> None:
    """Let the refusal model answer this request with `text`, if that can be signed."""
    if signature := sign(text, "notice"):
        body[REPLY_KEY] = {"text": text, "signature": signature}


def attached(body: dict[str, Any]) -> str | None:
    """The text that was attached by this Pipelines server; None if there is none, or somebody else's."""
    reply = body.get(REPLY_KEY)
    if not isinstance(reply, dict) or not is_signed(reply.get("text"), reply.get("signature"), "notice"):
        return None
    return str(reply["text"])


def refuse(asked: Any, model_id: str, body: dict[str, Any]) -> dict[str, Any] | Iterator[dict[str, Any] | str]:
    """The attached reply; for anybody who writes to the refusal model directly, a plain refusal.

    Without a signed reply the prompt holds the filter's own words: what can only be one of ours is said as it is.
    """
    prompt = asked.partition(HINT_START)[0] if isinstance(asked, str) else ""
    is_ours = Notices().recognises(prompt) or is_neutral_answer(prompt)
    text = attached(body) or (prompt if is_ours else Notices().text(NoticeKind.PROMPT_REFUSED, prompt))
    if not body.get("stream"):
        return completion(completion_head(model_id), [message_choice(text, "stop")])
    head = chunk_head(model_id)
    # Not a generator: after one the server would add an end of its own.
    stream: list[dict[str, Any] | str] = [with_role(text_chunk(head, text)), end_chunk(head, "stop"), "data: [DONE]"]
    return iter(stream)
