"""What Open WebUI answers on its ways to a model: an answer, or an error."""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx

from moderation.error_words import error_words
from moderation.probe import ADMINS_ONLY

_LONGEST_WORDS = 200
# The words of webui/plugin_status.py.
_VERSION = re.compile(r"Plugin (\S+);")


def plugin_version(told_admin: str) -> str | None:
    """The version of the plugin that judged and told an admin so; None if nothing of the kind was said."""
    found = _VERSION.match(told_admin)
    return found[1] if found else None


@dataclass(frozen=True)
class Reply:
    """`text` is what the user reads, an error's words included."""

    status: int
    text: str

    @property
    def is_error(self) -> bool:
        return self.status >= 400

    @property
    def words(self) -> str:
        """Its beginning on one line."""
        return " ".join(self.text.split())[:_LONGEST_WORDS]

    @property
    def told_admin(self) -> str:
        """What a plugin of ours tells admins only; empty if it tells nothing."""
        return " ".join(self.text.partition(ADMINS_ONLY)[2].replace("`", "").split())


def chat_reply(response: httpx.Response) -> Reply:
    """Of a route in the shape of OpenAI's chat completions, streamed or not."""
    if "text/event-stream" not in response.headers.get("content-type", ""):
        body = reply_object(response)
        failed = _failed(response, body)
        if failed is None and not body.get("choices"):
            # Such as "Title generation is disabled", with status 200.
            return Reply(502, error_text(body))
        return failed or Reply(response.status_code, _content(body, "message"))
    pieces = []
    for event in _events(response):
        if event.get("error"):
            return Reply(500, error_text(event))
        pieces.append(_content(event, "delta"))
    return Reply(response.status_code, "".join(pieces))


def message_reply(response: httpx.Response) -> Reply:
    """Of Anthropic's messages, streamed or not: some models stream what was not asked for."""
    if "text/event-stream" in response.headers.get("content-type", ""):
        events = _events(response)
        failed = next((Reply(500, error_text(event)) for event in events if event.get("error")), None)
        pieces = (str(at(event, "delta", "text") or "") for event in events)
        return failed or Reply(response.status_code, "".join(pieces))
    body = reply_object(response)
    return _failed(response, body) or Reply(response.status_code, _texts(body.get("content")))


def output_reply(response: httpx.Response) -> Reply:
    """Of OpenAI's responses."""
    body = reply_object(response)
    said = [_texts(at(item, "content")) for item in _listed(body.get("output"))]
    return _failed(response, body) or Reply(response.status_code, "\n".join(filter(None, said)))


def title_reply(response: httpx.Response) -> Reply:
    """Of a title. A neutral one is what a refusal looks like to Open WebUI."""
    reply = chat_reply(response)
    try:
        title = json.loads(reply.text)["title"]
    except (ValueError, KeyError, TypeError):
        return reply
    return Reply(reply.status, str(title))


def stored_reply(message: dict[str, Any]) -> Reply:
    """Of a message of a stored chat: what the page shows."""
    if message.get("error"):
        return Reply(400, error_text(message))
    items = [item for item in _listed(message.get("output")) if at(item, "type") == "message"]
    said = [_texts(at(item, "content")) for item in items]
    return Reply(200, "\n".join(filter(None, said)) or str(message.get("content") or ""))


def reply_object(response: httpx.Response) -> dict[str, Any]:
    return _json(response.text)


def error_text(body: dict[str, Any]) -> str:
    """What a user reads of an error."""
    return str(at(body, "error", "content") or error_words(body) or body)


def _events(response: httpx.Response) -> list[dict[str, Any]]:
    return [_json(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data: {")]


def _failed(response: httpx.Response, body: dict[str, Any]) -> Reply | None:
    if response.is_error:
        return Reply(response.status_code, error_text(body) if body else response.text)
    # A Function's error comes with status 200.
    return Reply(500, error_text(body)) if body.get("error") else None


def at(value: Any, *path: str | int) -> Any:
    """What a reply has at a path; None if it has another shape, as a model's server may answer anything."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _content(body: dict[str, Any], name: str) -> str:
    return str(at(body, "choices", 0, name, "content") or "")


def _texts(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    return "\n".join(str(at(part, "text") or "") for part in _listed(parts))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
