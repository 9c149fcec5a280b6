"""The scripted chat model's answers, read from a table."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A tool call that the model makes."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One assistant message: what it thinks, what it says, or the tool that it calls instead."""

    content: str = ""
    reasoning: str = ""
    tool: Tool | None = None


@dataclass(frozen=True)
class Answer:
    """One row of the table: when the trigger is found in the last user message, this is said."""

    trigger: re.Pattern[str]
    content: str
    reasoning: str = ""
    tool: Tool | None = None

    def reply(self, found: re.Match[str], body: Body) -> Reply:
        """Calls the tool when the request offers it and has no result yet; otherwise speaks."""
        offered = {tool.get("function", {}).get("name") for tool in body.get("tools") or []}
        if self.tool and self.tool.name in offered and body["messages"][-1].get("role") != "tool":
            return Reply(reasoning=self.reasoning, tool=self.tool)
        return Reply(content=found.expand(self.content), reasoning=self.reasoning)


class Script:
    """An ordered table of answers. The first that matches wins, so the last one should match everything."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    @classmethod
    def load(cls, path: Path) -> Script:
        """Raises `tomllib.TOMLDecodeError`, `re.error`, `KeyError` or `TypeError` when the file is not such a table."""
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["answer"]
        return cls([_answer(**row) for row in rows])

    def reply(self, body: Body) -> Reply:
        """Answers a chat-completions request body; raises `LookupError` when no row matches."""
        prompt = last_user_text(body)
        for answer in self.answers:
            if found := answer.trigger.search(prompt):
                return answer.reply(found, body)
        raise LookupError("no row of the script matches the last user message")


def _answer(trigger: str, content: str, reasoning: str = "", tool: dict[str, Any] | None = None) -> Answer:
    return Answer(
        trigger=re.compile(trigger, re.IGNORECASE),
        content=content.strip(),
        reasoning=reasoning.strip(),
        tool=Tool(**tool) if tool else None,
    )


def last_user_text(body: Body) -> str:
    """The text of the request's last user message, its content parts joined; empty when there is none."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    return ""
