"""The refusal model: a pipe that answers with the notice which the filter sent along, and knows nothing else."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from moderation.notice import NoticeKind, Notices
from pipelines.reply import attached


class Pipeline:
    """Answers with the attached reply; to anybody who writes to it directly, with a plain refusal."""

    # No `type` attribute: the server does not list a pipe whose `type` is "pipe" (its main.py, get_all_pipelines).

    def __init__(self) -> None:
        self.name = "Qwen3Guard refusal"

    def pipe(
        self, user_message: Any, model_id: str, messages: list[dict[str, Any]], body: dict[str, Any]
    ) -> dict[str, Any] | Iterator[dict[str, Any] | str]:
        asked = user_message if isinstance(user_message, str) else ""
        text = attached(body) or Notices().text(NoticeKind.PROMPT_REFUSED, asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_id}
        message = {"role": "assistant", "content": text}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {**head, "object": "chat.completion", "choices": [choice]}
        chunk = {**head, "object": "chat.completion.chunk"}
        said: dict[str, Any] = {"index": 0, "delta": message, "finish_reason": None}
        done = {"index": 0, "delta": {}, "finish_reason": "stop"}
        # Not a generator: behind one the server would add an end of its own.
        stream: list[dict[str, Any] | str] = [
            {**chunk, "choices": [said]},
            {**chunk, "choices": [done]},
            "data: [DONE]",
        ]
        return iter(stream)
