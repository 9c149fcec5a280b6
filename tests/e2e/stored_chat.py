"""A chat as Open WebUI stores it, which is all that a user can fetch of it later."""

from __future__ import annotations

import json
import time
from typing import Any

from demo.webui_client.webui_api import WebuiApi
from tests.stands.waiting import PATIENCE


class StoredChat:
    """The chat's JSON at one moment."""

    def __init__(self, chat: dict[str, Any]) -> None:
        self.chat = chat

    @classmethod
    def read(cls, api: WebuiApi, chat_id: str) -> StoredChat:
        return cls(api.get(f"/api/v1/chats/{chat_id}"))

    @classmethod
    def settled(cls, api: WebuiApi, chat_id: str, answers: int = 1) -> StoredChat:
        """The chat, once it has this number of answers, and all outlets and tasks after them are complete."""
        deadline = time.monotonic() + PATIENCE
        while True:
            running = api.get(f"/api/tasks/chat/{chat_id}")["task_ids"]
            stored = cls.read(api, chat_id)
            done = [message.get("done") for message in stored.messages if message["role"] == "assistant"]
            if len(done) >= answers and all(done) and not running:
                return stored
            assert time.monotonic() < deadline, f"chat {chat_id} did not end within {PATIENCE} s"
            time.sleep(0.2)

    @property
    def title(self) -> str:
        return str(self.chat["title"])

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.chat["chat"]["history"]["messages"].values())

    def last(self, role: str) -> dict[str, Any]:
        """The newest message of that role."""
        return [message for message in self.messages if message["role"] == role][-1]

    def texts(self, key: str) -> list[str]:
        """The value of `key`, such as `originalContent`, in every message."""
        return [message[key] for message in self.messages if key in message]


def holds(body: object, text: str) -> bool:
    """Whether the text is anywhere in the body; upper and lower case are equal."""
    return text.lower() in json.dumps(body, ensure_ascii=False).lower()


def said(message: dict[str, Any]) -> list[str]:
    """The text of each item of a message's output; its content if it has no output."""
    items = message.get("output") or []
    texts = [part.get("text", "") for item in items for part in item.get("content") or []]
    return texts or [str(message.get("content") or "")]
