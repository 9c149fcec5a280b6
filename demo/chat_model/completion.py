"""A scripted reply in the shapes of OpenAI's chat-completions protocol: one object, or chunks."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from demo.chat_model.script import ScriptedMessage

# A word with the space before it, or one character of a script without spaces.
TOKEN = re.compile(r"\s*[\u3000-\u9fff\uff00-\uffef]|\s*[^\s\u3000-\u9fff\uff00-\uffef]+|\s+")


def tokens(text: str) -> list[str]:
    """`text` split into pieces about as long as a model's tokens. Joined, they are the text again."""
    return TOKEN.findall(text)


class Completion:
    """The reply to one request, for the wire: `whole()` unstreamed, `chunks()` streamed."""

    def __init__(self, model: str, reply: ScriptedMessage, prompt_text: str = "") -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.reply = reply
        said = len(tokens(reply.content)) + len(tokens(reply.reasoning))
        asked = len(tokens(prompt_text))
        self.usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        self.finish_reason = "tool_calls" if reply.tool else "stop"

    def whole(self) -> dict[str, Any]:
        """The unstreamed `chat.completion` object."""
        message: dict[str, Any] = {"role": "assistant", "content": self.reply.content}
        if self.reply.reasoning:
            message["reasoning_content"] = self.reply.reasoning
        if self.reply.tool:
            message["tool_calls"] = [self._tool_call()]
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return self._envelope("chat.completion", [choice]) | {"usage": self.usage}

    def chunks(self, *, with_usage: bool) -> Iterator[dict[str, Any]]:
        """The `chat.completion.chunk` objects in order, one token each. With `with_usage`, the usage comes last."""
        yield self._chunk({"role": "assistant", "content": ""})
        for token in tokens(self.reply.reasoning):
            yield self._chunk({"reasoning_content": token})
        for token in tokens(self.reply.content):
            yield self._chunk({"content": token})
        if self.reply.tool:
            yield self._chunk({"tool_calls": [{"index": 0} | self._tool_call()]})
        yield self._chunk({}, finish_reason=self.finish_reason)
        if with_usage:
            yield self._envelope("chat.completion.chunk", []) | {"usage": self.usage}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return self._envelope("chat.completion.chunk", [choice])

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def _tool_call(self) -> dict[str, Any]:
        assert self.reply.tool is not None
        arguments = json.dumps(self.reply.tool.arguments, ensure_ascii=False)
        function = {"name": self.reply.tool.name, "arguments": arguments}
        return {"id": f"call_{self.id[-12:]}", "type": "function", "function": function}
