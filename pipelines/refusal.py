"""A model's answer that is the notice which the filter sent along, and nothing else."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from moderation.notice import NoticeKind, Notices
from pipelines.reply import attached
from pipelines.webui import is_neutral_answer


def refuse(asked: Any, model_id: str, body: dict[str, Any]) -> dict[str, Any] | Iterator[dict[str, Any] | str]:
    """The attached reply; for anybody who writes to the refusal model directly, a plain refusal.

    Without a signed reply the filter's own words stand in the prompt: what can only be one of ours is said as it is.
    """
    prompt = asked if isinstance(asked, str) else ""
    is_ours = Notices().recognises(prompt) or is_neutral_answer(prompt)
    text = attached(body) or (prompt if is_ours else Notices().text(NoticeKind.PROMPT_REFUSED, prompt))
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_id}
    message = {"role": "assistant", "content": text}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**head, "object": "chat.completion", "choices": [choice]}
    chunk = {**head, "object": "chat.completion.chunk"}
    said: dict[str, Any] = {"index": 0, "delta": message, "finish_reason": None}
    done = {"index": 0, "delta": {}, "finish_reason": "stop"}
    # Not a generator: behind one the server would add an end of its own.
    stream: list[dict[str, Any] | str] = [{**chunk, "choices": [said]}, {**chunk, "choices": [done]}, "data: [DONE]"]
    return iter(stream)
