"""One message of a request or of a stored chat: who says it, what it says, and how it is replaced."""

import re
from typing import Any, Literal, NamedTuple

from moderation.review import Message
from webui.bodies import Body, listed, object_or_empty, output_item
from webui.json_text import MEDIA_PARTS, Found, as_text, find, is_text, media_of
from webui.request_fields import MESSAGE_FIELDS, Treatment, words_in

SYSTEM_ROLES = ("system", "developer")
_ROLES = (*SYSTEM_ROLES, "user", "assistant", "tool")
# Kinds of content parts that hold text (OpenAI's two APIs, Anthropic).
_TEXT_PARTS = (
    "text",
    "input_text",
    "output_text",
    "refusal",
    "thinking",
    "redacted_thinking",
    "reasoning",
    "reasoning_text",
    "summary_text",
    "tool_result",
)
_THOUGHTS = ("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "content_blocks")
# Such as the arguments of a call that has none.
_WORDLESS = re.compile(r"[\x00-\x2f:-@[-`{-\x7f]*")
# Looking for what was said twice may not compare more characters than this.
_MOST_COMPARED = 5_000_000
# What a replaced message keeps: nothing that holds words.
_KEPT_KEYS = ("id", "role", "timestamp", "info", "usage", "model", "finish_reason", "parentId", "childrenIds", "done")


class MessageReading(NamedTuple):
    """What a message holds."""

    text: str
    """Its content."""
    asides: tuple[str, ...]
    """Reasoning, each tool call, each result of a tool; then, as one text, names, citations and the like."""
    media: tuple[str, ...]
    """The kinds of what nobody can judge, such as `image_url`."""

    def as_said_by(self, role: Literal["user", "assistant"]) -> Message:
        return Message(role, self.text, self.asides)


def role_of(message: Body) -> Literal["user", "assistant"] | None:
    """Who speaks, as Qwen3Guard sees it. None for system messages; tools and unknown roles count as input."""
    role = message.get("role")
    if role in SYSTEM_ROLES:
        return None
    return "assistant" if role == "assistant" else "user"


def decisive(messages: list[Body], newest: int) -> list[bool]:
    """Which messages decide on the answer: those from `newest` on, and system texts, which no answer may ignore."""
    return [index >= newest or message.get("role") in SYSTEM_ROLES for index, message in enumerate(messages)]


def reading(message: Body) -> MessageReading:
    """All that a message holds, whatever its shape. Takes time in proportion to its length."""
    content = _content_of(message.get("content"))
    text, media = "\n".join(content.texts), list(content.media)
    # Each by itself: joined, a short tool call looks harmless next to a long result.
    apart: list[list[str]] = []
    thoughts: list[list[str]] = []
    role = message.get("role")
    rest = [] if role in _ROLES else list(filter(is_text, find(role).texts))
    for key in ("tool_calls", "function_call"):
        apart += [find(_call_as_read(call), "arguments").texts for call in listed(message.get(key))]
    for item in listed(message.get("output")):
        shown = _call_as_read(item)
        inner = _content_of(shown.pop("content", None) if isinstance(shown, dict) else None)
        found = find(shown, "output")
        media += [*inner.media, *found.media]
        is_message = isinstance(shown, dict) and shown.get("type") == "message"
        apart.append(inner.texts if is_message else [*inner.texts, *found.texts])
        rest += found.texts if is_message else []
    for key, value in message.items():
        if _needs_no_look(key, value):
            continue
        found = words_in(MESSAGE_FIELDS, {key: value})
        media += found.media
        if key in _THOUGHTS:
            thoughts.append(found.texts)
        elif key not in MESSAGE_FIELDS:
            apart.append(found.texts)
        else:
            rest += found.texts
    # Servers repeat the reasoning under several keys, and a page shows it once.
    asides = [*_unsaid(text, thoughts, together=True), *_unsaid(text, [*apart, rest])]
    return MessageReading(text, tuple(dict.fromkeys(asides)), tuple(dict.fromkeys(media)))


def replace(message: Body, text: str) -> None:
    """Let the message say `text` and nothing else."""
    calls = [_emptied_call(call) for call in listed(message.get("tool_calls"))]
    function = message.get("function_call")
    linked, output, had_sources = message.get("tool_call_id"), message.get("output"), "sources" in message
    kept = {
        key: message[key]
        for key in _KEPT_KEYS
        if key in message and not words_in(MESSAGE_FIELDS, {key: message[key]}).texts
    }
    message.clear()
    message.update(kept, content=text)
    if is_text(str(kept.get("role"))):
        message["role"] = "user"
    if calls:
        message["tool_calls"] = calls
    if isinstance(function, dict):
        message["function_call"] = _emptied_function(function)
    if linked is not None and not find(linked).texts:
        message["tool_call_id"] = linked
    if output:
        message["output"] = [output_item(kept.get("id"), text)]
    # Sources quote the documents that an unsafe answer was made from.
    if had_sources:
        message["sources"] = []


def mark_once(message: Body) -> None:
    """Change a notice by a trailing space, once.

    Open WebUI keeps the text that an outlet replaced as `originalContent`, where the user could fetch it. Changed
    again, it keeps the notice there instead.
    """
    text = message.get("content")
    if isinstance(text, str) and text and not text.endswith(" "):
        replace(message, text + " ")


def add_note(message: Body, note: str) -> None:
    """Let an answer end with a note of ours, where the page shows it."""
    if isinstance(message.get("content"), str):
        message["content"] = f"{message['content']}\n\n{note}"
    if isinstance(message.get("output"), list):
        message["output"] = [*message["output"], output_item(message.get("id"), note)]


def _content_of(content: Any) -> Found:
    """The texts and media of a message's content: a string, parts in lists of any depth, or anything else."""
    if isinstance(content, str):
        return find(content, "content")
    texts: list[str] = []
    media: list[str] = []
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += reversed(part)
            continue
        kind = str(object_or_empty(part).get("type") or "")
        if isinstance(part, dict) and kind not in _TEXT_PARTS and kind not in MEDIA_PARTS:
            # A model reads all of it, keys and labels too.
            shown, left_out = as_text(part)
            texts.append(shown)
            unread = kind if kind and not find({**part, "type": ""}).texts else "file" if left_out else ""
            media += filter(None, [unread])
            continue
        found = find(part, "content")
        texts += found.texts
        media += found.media
    return Found([text for text in texts if text], media)


def _call_as_read(call: Any, *, inside: bool = False) -> Any:
    """A call or an item of output as it is read: no name of one word, arguments as the text that a model gets."""
    if not isinstance(call, dict):
        return call
    shown = {}
    for key, value in call.items():
        if key in ("arguments", "input") and isinstance(value, dict | list):
            shown[key] = as_text(value)[0]
        elif key == "name" and isinstance(value, str) and not is_text(value):
            continue
        elif key in ("function", "custom") and not inside:
            shown[key] = _call_as_read(value, inside=True)
        else:
            shown[key] = value
    return shown


def _needs_no_look(key: str, value: Any) -> bool:
    """Whether a field needs no look, as most of them: it is read elsewhere, or holds an id, a number or nothing."""
    treatment = MESSAGE_FIELDS.get(key)
    if treatment is Treatment.SEPARATE:
        return True
    if treatment is Treatment.LABEL and isinstance(value, str):
        return not is_text(value) and media_of(value) is None
    return treatment is not None and (not value or isinstance(value, int | float))


def _emptied_call(call: Any) -> Body:
    """A tool call without what the model wrote into it; its result must still find it."""
    call = object_or_empty(call)
    kept = {key: call[key] for key in ("id", "index", "type") if key in call and not find(call[key]).texts}
    for kind in ("function", "custom"):
        if kind in call:
            kept[kind] = _emptied_function(object_or_empty(call[kind]))
    return kept


def _emptied_function(function: Body) -> Body:
    name = function.get("name")
    kept: Body = {"name": name} if isinstance(name, str) and not is_text(name) else {}
    return {**kept, **({"input": ""} if "input" in function else {"arguments": "{}"})}


def _unsaid(text: str, asides: list[list[str]], *, together: bool = False) -> list[str]:
    """Each aside without what `text` says too; and, `together`, without what an earlier one says."""
    said, left, found = text, _MOST_COMPARED, []
    for aside in asides:
        new = []
        for part in aside:
            bare = part.strip()
            if _WORDLESS.fullmatch(bare):
                continue
            left -= len(said)
            if left < 0 or bare not in said:
                new.append(part)
        if new:
            found.append("\n".join(new))
            said = f"{said}\n{found[-1]}" if together else said
    return found
