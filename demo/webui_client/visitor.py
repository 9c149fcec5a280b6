"""Plays an ordinary user of Open WebUI's page, over HTTP."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from demo.errors import NotReady
from demo.webui_client.webui_api import WebuiApi

# For one answer: the check of the prompt, the chat model, the check of the answer, the title and follow-up tasks.
ANSWER_SECONDS = 600


@dataclass(frozen=True)
class Seen:
    """One exchange as it is stored, which is what the page shows after a reload.

    `answer` is the assistant's message with all that the page can show: `content` and `output`.
    """

    chat_id: str
    prompt: str
    answer: dict[str, Any] = field(repr=False)

    @property
    def text(self) -> str:
        """What the page renders: the messages of the output, or the content if there is no output."""
        parts = [
            part.get("text", "")
            for item in self.answer.get("output") or []
            if item.get("type") == "message"
            for part in item.get("content") or []
        ]
        return "\n".join(parts) or str(self.answer.get("content") or "")

    @property
    def error(self) -> str:
        """The error message that the page shows in a red box instead of an answer; empty if there is none."""
        return str((self.answer.get("error") or {}).get("content") or "")


class Visitor:
    """Calls `/api/chat/completions` like the page of 0.12.4 does (its source: lib/components/chat/Chat.svelte).

    The request has a session id, so Open WebUI answers in the background, runs the filters on request and answer, and
    stores the result in a saved chat, from which the answer is then read.
    """

    def __init__(self, api: WebuiApi, model: str) -> None:
        self.api = api
        self.model = model

    def ask(self, prompt: str, after: Seen | None = None, *, stream: bool = True, **more: Any) -> Seen:
        """Sends the prompt in a new chat, or as the next turn of an earlier one, and waits for the complete answer.

        `more` are further keys of the request, such as `features`, `files` or `tool_ids`.

        Raises `NotReady` if it is not complete in ten minutes.
        """
        answer_id = str(uuid.uuid4())
        parent = after.answer["id"] if after else None
        question_id = str(uuid.uuid4())
        question = {
            "id": question_id,
            "parentId": parent,
            "childrenIds": [answer_id],
            "role": "user",
            "content": prompt,
            "timestamp": int(time.time()),
            "models": [self.model],
        }
        started = self.api.post(
            "/api/chat/completions",
            {
                "stream": stream,
                "model": self.model,
                "messages": [*(self._history(after) if after else []), {"role": "user", "content": prompt}],
                "params": {},
                "tool_ids": [],
                "tool_servers": [],
                "features": {},
                "variables": {},
                "session_id": str(uuid.uuid4()),
                "id": answer_id,
                "parent_id": parent,
                "user_message": question,
                "background_tasks": {
                    "title_generation": not after,
                    "tags_generation": not after,
                    "follow_up_generation": True,
                },
            }
            | ({"chat_id": after.chat_id} if after else {})
            | more,
        )
        return self._wait(started["chat_id"], question_id, answer_id)

    def sidebar(self) -> dict[str, str]:
        """The titles in the list of chats, by chat id."""
        return {chat["id"]: chat["title"] for chat in self.api.get("/api/v1/chats/", page=1)}

    def _history(self, after: Seen) -> list[dict[str, Any]]:
        """The turns up to and including `after`, as the page sends them: of an answer, the output if it has one."""
        messages = self._chat(after.chat_id)["history"]["messages"]
        turns: list[dict[str, Any]] = []
        current: str | None = after.answer["id"]
        while current:
            message = messages[current]
            said = {"output": message["output"]} if message.get("output") else {"content": message["content"]}
            turns.insert(0, {"role": message["role"], **said})
            current = message.get("parentId")
        return turns

    def _wait(self, chat_id: str, question_id: str, answer_id: str) -> Seen:
        """Waits for the answer and for the chat's background tasks: outlet filters and tasks run after `done`."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            running = self.api.get(f"/api/tasks/chat/{chat_id}")["task_ids"]
            chat = self._chat(chat_id)
            answer = chat["history"]["messages"][answer_id]
            if answer.get("done") and not running:
                return Seen(chat_id, chat["history"]["messages"][question_id]["content"], answer)
            if time.monotonic() > deadline:
                raise NotReady(f"Open WebUI did not complete its answer in {ANSWER_SECONDS} s (chat {chat_id}).")
            time.sleep(0.3)

    def _chat(self, chat_id: str) -> dict[str, Any]:
        chat: dict[str, Any] = self.api.get(f"/api/v1/chats/{chat_id}")["chat"]
        return chat
