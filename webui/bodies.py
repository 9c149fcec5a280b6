"""The bodies that Open WebUI sends, and what its own requests want in reply.

Shapes: `open_webui/utils/middleware.py` of Open WebUI 0.12.4 for outlet, the chat completions API for inlet.
"""

import json
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]

# All that a refused request keeps: everything else may hold, or act on, what the user sent.
_KEPT_OF_A_REFUSED_REQUEST = (
    "model",
    "stream",
    "stream_options",
    "metadata",
    "chat_id",
    "session_id",
    "id",
    "message_id",
    "background_tasks",
)
_NEUTRAL_ANSWERS = {
    # A title must not be empty: the page would show the prompt instead.
    "title_generation": json.dumps({"title": "New Chat"}),
    "tags_generation": json.dumps({"tags": []}),
    "follow_up_generation": json.dumps({"follow_ups": []}),
    "query_generation": json.dumps({"queries": []}),
    "image_prompt_generation": json.dumps({"prompt": ""}),
    "autocomplete_generation": json.dumps({"text": ""}),
    "emoji_generation": "💬",
}


def messages_of(body: Body) -> list[Body]:
    """The body's messages; entries that are not objects are dropped, so that nothing unjudged goes on."""
    found = body.get("messages")
    messages = [message for message in found if isinstance(message, dict)] if isinstance(found, list) else []
    body["messages"] = messages
    return messages


def emptied(body: Body, model: str, prompt: str) -> Body:
    """A request without anything of the user's: `prompt` for `model`, no features, files or tools."""
    kept = {key: body[key] for key in _KEPT_OF_A_REFUSED_REQUEST if key in body}
    return {**kept, "model": model, "messages": [{"role": "user", "content": prompt}], "features": {}}


def newest_turn(messages: list[Body]) -> int:
    """Where the turn begins that nobody has answered: the last user message, and what follows it."""
    users = [index for index, message in enumerate(messages) if message.get("role") == "user"]
    return users[-1] if users else max(0, len(messages) - 1)


def task_of(body: Body) -> str | None:
    """Open WebUI's own request that this is, such as `title_generation`; None for a chat."""
    task = object_or_empty(body.get("metadata")).get("task")
    return str(task) if task else None


def reader_language(body: Body) -> str | None:
    """The language that the reader set in Open WebUI, such as `de-DE`; None if the body does not say it."""
    language = object_or_empty(object_or_empty(body.get("metadata")).get("variables")).get("{{USER_LANGUAGE}}")
    return language if isinstance(language, str) else None


def neutral_answer(task: str, notice: str) -> str:
    """An answer that Open WebUI's task code can read, without anything of the chat in it (routers/tasks.py)."""
    return _NEUTRAL_ANSWERS.get(task, notice)


def is_neutral_answer(text: str) -> bool:
    """Whether `text` says nothing but that a task gets no answer."""
    return text in _NEUTRAL_ANSWERS.values()


def object_or_empty(value: Any) -> Body:
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> Iterator[Body]:
    return (item for item in (value if isinstance(value, list) else []) if isinstance(item, dict))


def listed(value: Any) -> list[Any]:
    """A value that should have been a list as one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def output_item(name: Any, text: str) -> Body:
    """An item of Open WebUI's `output`, whose shape is that of OpenAI's responses: an answer that says `text`.

    Args:
        name: the id of the message that it belongs to.
        text: what it says.
    """
    return {
        "type": "message",
        "id": f"msg_{name or 'notice'}",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }
