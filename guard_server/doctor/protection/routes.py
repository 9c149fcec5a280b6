"""The ways by which a prompt reaches a model through Open WebUI. Each is taken as an ordinary user takes it."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from guard_server.open_webui.chat_replies import (
    Reply,
    at,
    chat_reply,
    error_text,
    message_reply,
    output_reply,
    reply_object,
    stored_reply,
    title_reply,
)
from guard_server.open_webui.client import WebuiClient

Send = Callable[[WebuiClient, str, str], Reply]
"""Sends a prompt to a model."""

_LOOK_SECONDS = 0.3
_AROUND = (
    "Take away the right to use this model (Admin Panel > Settings > Models), and offer a guarded one. Or block this "
    "route in a reverse proxy: no page uses it."
)
_FIRST_CONNECTION = (
    "Block this route in a reverse proxy: no page uses it, and Open WebUI gives requests for guarded models to the "
    "first connection."
)
_TASK = "Make a guarded model the task model (Admin Panel > Settings > Interface), or offer guarded models only."


@dataclass(frozen=True)
class Route:
    """One way.

    Attributes:
        name: as the table says it.
        around: Open WebUI passes requests on without calling any filter.
        is_task: it asks for something about a chat, such as its title, and not for an answer.
        owner: only models of this kind can be asked.
        asks_admin: the plugin that refuses a prompt there tells an admin about itself; one way to each model is enough.
        remedy: against what passes there, if it is not the usual one.
    """

    name: str
    send: Send
    around: bool = False
    is_task: bool = False
    owner: str | None = None
    asks_admin: bool = False
    remedy: str | None = None


def _chat(path: str, client: WebuiClient, model: str, prompt: str, *, stream: bool = False) -> Reply:
    body = {"model": model, "stream": stream, "messages": _messages(prompt)}
    return chat_reply(client.reply("POST", path, json=body))


def _anthropic(client: WebuiClient, model: str, prompt: str) -> Reply:
    body = {"model": model, "max_tokens": 1000, "stream": False, "messages": _messages(prompt)}
    return message_reply(client.reply("POST", "/api/v1/messages", json=body))


def _responses(client: WebuiClient, model: str, prompt: str) -> Reply:
    return output_reply(client.reply("POST", "/openai/responses", json={"model": model, "input": prompt}))


def _ollama(client: WebuiClient, model: str, prompt: str) -> Reply:
    body = {"model": model, "stream": False, "messages": _messages(prompt)}
    response = client.reply("POST", "/ollama/api/chat", json=body)
    said = reply_object(response)
    if response.is_error:
        return Reply(response.status_code, error_text(said))
    return Reply(response.status_code, str(at(said, "message", "content") or ""))


def _title(client: WebuiClient, model: str, prompt: str) -> Reply:
    body = {"model": model, "messages": _messages(prompt)}
    return title_reply(client.reply("POST", "/api/v1/tasks/title/completions", json=body))


def _page(client: WebuiClient, model: str, prompt: str) -> Reply:
    """As the page of 0.12.4 does (its source: lib/components/chat/Chat.svelte): the answer is stored in a chat."""
    asked, answer = str(uuid.uuid4()), str(uuid.uuid4())
    message: dict[str, Any] = {
        "id": asked,
        "parentId": None,
        "childrenIds": [answer],
        "role": "user",
        "content": prompt,
        "timestamp": int(time.time()),
        "models": [model],
    }
    body = {
        "stream": True,
        "model": model,
        "messages": _messages(prompt),
        "params": {},
        "tool_ids": [],
        "tool_servers": [],
        "features": {},
        "variables": {},
        "session_id": str(uuid.uuid4()),
        "id": answer,
        "parent_id": None,
        "user_message": message,
        "background_tasks": {"title_generation": False, "tags_generation": False, "follow_up_generation": False},
    }
    response = client.reply("POST", "/api/chat/completions", json=body)
    started = reply_object(response)
    chat = started.get("chat_id")
    if response.is_error or not chat:
        return Reply(max(response.status_code, 400), error_text(started))
    try:
        return _stored(client, str(chat), answer)
    finally:
        client.reply("DELETE", f"/api/v1/chats/{chat}")


def _stored(client: WebuiClient, chat: str, answer: str) -> Reply:
    """The answer once it is complete, filters that run after it included."""
    deadline = time.monotonic() + client.seconds
    while time.monotonic() < deadline:
        running = client.get(f"/api/tasks/chat/{chat}")["task_ids"]
        message = client.get(f"/api/v1/chats/{chat}")["chat"]["history"]["messages"].get(answer) or {}
        if (message.get("done") or message.get("error")) and not running:
            return stored_reply(message)
        time.sleep(_LOOK_SECONDS)
    return Reply(504, f"no answer in {client.seconds:g} s")


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


ROUTES = (
    Route("chat page", _page),
    Route("API", partial(_chat, "/api/chat/completions")),
    Route("API, streamed", partial(_chat, "/api/chat/completions", stream=True), asks_admin=True),
    Route("messages API", _anthropic),
    Route("title", _title, is_task=True, remedy=_TASK),
    Route("/openai", partial(_chat, "/openai/chat/completions"), around=True, remedy=_AROUND),
    Route("/openai, streamed", partial(_chat, "/openai/chat/completions", stream=True), around=True, remedy=_AROUND),
    Route("/openai/responses", _responses, around=True, remedy=_FIRST_CONNECTION),
    Route("/ollama", _ollama, around=True, owner="ollama", remedy=_AROUND),
)
