"""A channel of Open WebUI 0.12.4 in the browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page, expect

from demo.webui_client.webui_api import WebuiApi

_CONFIG = "/api/v1/auths/admin/config"
_EVERYBODY = [{"principal_type": "user", "principal_id": "*", "permission": may} for may in ("read", "write")]


class ChannelPage:
    """One user in one channel."""

    def __init__(self, page: Page, api: WebuiApi, channel_id: str) -> None:
        self.page = page
        self.api = api
        self.channel_id = channel_id

    @classmethod
    @contextmanager
    def opened(cls, page: Page, api: WebuiApi, admin: WebuiApi, *, threads: bool = False) -> Iterator[ChannelPage]:
        """A new channel for all users, in which models answer in a thread or below the question."""
        before = admin.get(_CONFIG)
        admin.post(
            _CONFIG,
            before | {"ENABLE_CHANNELS": True, "CHANNEL_MODEL_RESPONSE_MODE": "thread" if threads else "channel"},
        )
        made = admin.post("/api/v1/channels/create", {"name": "harbour", "access_grants": _EVERYBODY})
        channel = cls(page, api, made["id"])
        try:
            channel.reload()
            yield channel
        finally:
            admin.http.delete(f"/api/v1/channels/{channel.channel_id}/delete").raise_for_status()
            admin.post(_CONFIG, before)

    def reload(self) -> None:
        self.page.goto(str(self.api.http.base_url.join(f"/channels/{self.channel_id}")))
        expect(self.page.locator("#chat-input")).to_be_visible()

    def ask(self, model_name: str, text: str) -> None:
        """Mentions the model, as if chosen after an @, and sends the text."""
        box = self.page.locator("#chat-input")
        box.press_sequentially(f"@{model_name.split()[0]}")
        self.page.locator("#suggestions-container button", has_text=model_name).first.click()
        box.press_sequentially(f" {text}")
        box.press("Enter")

    @property
    def messages(self) -> Locator:
        """The messages, newest last."""
        return self.page.locator("#messages-container .markdown-prose")

    def write(self, model: str, text: str, thread: str | None = None) -> str:
        """Sends the page's request without the page; returns the message's id."""
        form = {"content": f"<@M:{model}|{model}> {text}", "parent_id": thread}
        return str(self.api.post(f"/api/v1/channels/{self.channel_id}/messages/post", form)["id"])

    def answers_in(self, thread: str) -> list[str]:
        """The models' answers in a thread, oldest first."""
        messages = self.api.get(f"/api/v1/channels/{self.channel_id}/messages/{thread}/thread")
        return [one["content"] for one in reversed(messages) if (one["meta"] or {}).get("done")]

    def stored(self) -> list[dict[str, Any]]:
        """The stored messages of the channel, newest first."""
        return list(self.api.get(f"/api/v1/channels/{self.channel_id}/messages"))
