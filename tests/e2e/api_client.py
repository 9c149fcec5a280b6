"""A program that talks to Open WebUI's API: no page, no saved chat."""

from __future__ import annotations

import json
from typing import Any

from demo.webui_client.webui_api import WebuiApi


class ApiClient:
    """Sends a prompt to a chat-completions route with one account's token."""

    def __init__(self, api: WebuiApi, model: str) -> None:
        self.api = api
        self.model = model

    def ask(self, prompt: str, *, stream: bool, path: str = "/api/chat/completions", **more: Any) -> str:
        """The complete answer."""
        messages = [{"role": "user", "content": prompt}]
        body = {"model": self.model, "stream": stream, "messages": messages, **more}
        answer = self.api.http.post(path, json=body).raise_for_status()
        if not stream:
            return str(answer.json()["choices"][0]["message"]["content"])
        return streamed_text(answer.text)


def streamed_text(body: str) -> str:
    """The answer in the body of a streamed reply."""
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line).get("choices", [])]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
