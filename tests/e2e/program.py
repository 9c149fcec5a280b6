"""A program that asks one of Open WebUI's routes through the `openai` SDK."""

from __future__ import annotations

from typing import Any

from demo.stack.stack import Stack
from tests.stands.clients import openai_client

Body = dict[str, Any]


class Program:
    """Talks to one of Open WebUI's routes through the `openai` SDK, as an ordinary user."""

    def __init__(self, stack: Stack, model: str, path: str = "/api") -> None:
        self.model = model
        token, url = stack.user_token, stack.webui_url + path
        self.client = openai_client(url, token)

    def ask(self, *messages: Body, stream: bool, **more: Any) -> Body:
        """The whole message, and its finish reason under `finish_reason`."""
        # The Pipelines server streams unless it is told not to (its schemas.py).
        said: Any = messages
        answer: Any = self.client.chat.completions.create(model=self.model, messages=said, stream=stream, **more)
        if not stream:
            (choice,) = answer.choices
            return {**choice.message.model_dump(exclude_none=True), "finish_reason": choice.finish_reason}
        with answer:
            choices = [choice for chunk in answer for choice in chunk.choices]
        message: Body = {"content": "".join(choice.delta.content or "" for choice in choices)}
        calls = [call.model_dump(exclude_none=True) for choice in choices for call in choice.delta.tool_calls or []]
        return message | {"tool_calls": calls, "finish_reason": choices[-1].finish_reason}
