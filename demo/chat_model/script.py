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
class ScriptedMessage:
    """One assistant message: reasoning, and content or a tool call."""

    content: str = ""
    reasoning: str = ""
    tool: Tool | None = None


@dataclass(frozen=True)
class ScriptedAnswer:
    """One row of the table: the reply if `trigger` is found in the last user message."""

    trigger: re.Pattern[str]
    content: str
    reasoning: str = ""
    tool: Tool | None = None

    def reply(self, found: re.Match[str], body: Body) -> ScriptedMessage:
        """A call of the tool if the request offers it and has no result yet; otherwise the content."""
        offered = {tool.get("function", {}).get("name") for tool in body.get("tools") or []}
        if self.tool and self.tool.name in offered and body["messages"][-1].get("role") != "tool":
            return ScriptedMessage(reasoning=self.reasoning, tool=self.tool)
        return ScriptedMessage(content=found.expand(self.content), reasoning=self.reasoning)


class Script:
    """An ordered table of answers. The first match wins, so the last row should match everything."""

    def __init__(self, answers: list[ScriptedAnswer]) -> None:
        self.answers = answers

    @classmethod
    def load(cls, path: Path) -> Script:
        """Raises `tomllib.TOMLDecodeError`, `re.error`, `KeyError` or `TypeError` if the file is not such a table."""
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["answer"]
        return cls([_answer(**row) for row in rows])

    def reply(self, body: Body) -> ScriptedMessage:
        """The reply to a chat-completions request body. Raises `LookupError` if no row matches."""
        prompt = last_user_text(body)
        for answer in self.answers:
            if found := answer.trigger.search(prompt):
                return answer.reply(found, body)
        raise LookupError("no row of the script matches the last user message")


def _answer(trigger: str, content: str, reasoning: str = "", tool: dict[str, Any] | None = None) -> ScriptedAnswer:
    return ScriptedAnswer(
        trigger=re.compile(trigger, re.IGNORECASE),
        content=content.strip(),
        reasoning=reasoning.strip(),
        tool=Tool(**tool) if tool else None,
    )


def last_user_text(body: Body) -> str:
    """The text of the request's last user message, its content parts joined; empty if there is none."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")
    return ""
