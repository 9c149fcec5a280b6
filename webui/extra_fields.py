"""What a request holds next to its messages: judged, and without what may not be sent.

Its words (documents, a prediction, a grammar) are judged as a prompt of their own. Definitions of tools are judged too,
but never refuse a prompt: Open WebUI's own are long and technical, and an unsafe one is left out.
"""

import asyncio
from typing import Any, NamedTuple

from webui.bodies import Body, listed, object_or_empty
from webui.json_text import find
from webui.message_reviews import MessageReviews, ReviewedMessage
from webui.moderator import Moderator
from webui.request_fields import REQUEST_FIELDS, Treatment, words_in

# Of a refused set with more definitions than this, none is judged by itself: all are left out.
_MOST_TOOLS = 64
# What a server rejects without tools, or chooses among them.
_CHOICES = {"tools": ("tool_choice", "parallel_tool_calls"), "functions": ("function_call",)}


class Extra(NamedTuple):
    """The fields of a request next to its messages, reviewed."""

    fields: Body
    """As they may be sent."""
    refused: ReviewedMessage | None
    """The words that refuse the request, as a message."""
    judged: tuple[tuple[str, ReviewedMessage], ...] = ()
    """What belongs into the audit: its direction, and its words as a message."""


class ExtraFields:
    """The fields of one request next to its messages.

    Args:
        moderator: judges.
        fields: as they were sent.
        host: whether Open WebUI itself gets the request next, so that its own fields need no look.
    """

    def __init__(self, moderator: Moderator, fields: Body, *, host: bool = False) -> None:
        self._moderator = moderator
        self._fields = {name: value for name, value in fields.items() if not _treated_as(name, Treatment.LEFT_OUT)}
        found = words_in(REQUEST_FIELDS, self._fields, host=host)
        self._words = [_as_message(found.texts, found.media)] if found.texts or found.media else []
        self._tools = [name for name in self._fields if _treated_as(name, Treatment.TOOLS)]

    def unjudged(self) -> Body:
        """The fields for those who are exempt."""
        return self._fields

    async def cached(self) -> Extra:
        """As far as verdicts are cached."""
        words = await MessageReviews(self._moderator, self._words).cached()
        fields = self._fields
        for name in self._tools:
            whole = await self._cached(_tools_message(self._fields[name]))
            each = [await self._cached(message) for message in self._alone(name, whole)]
            fields = _with_tools(fields, name, _tools_left(listed(self._fields[name]), whole, each))
        return Extra(fields, _refusing(words))

    async def review(self) -> Extra:
        """Everything judged."""
        words, *tools = await asyncio.gather(
            MessageReviews(self._moderator, self._words).review(), *(self._review_tools(name) for name in self._tools)
        )
        judged = [("prompt", one) for one in words if one.review]
        fields = self._fields
        for name, (left, records) in zip(self._tools, tools, strict=True):
            fields = _with_tools(fields, name, left)
            judged += [("tools", one) for one in records]
        return Extra(fields, _refusing(words), tuple(judged))

    async def _review_tools(self, name: str) -> tuple[list[Any], list[ReviewedMessage]]:
        """The tools that may be sent, and what belongs into the audit."""
        whole = await self._review(_tools_message(self._fields[name]))
        each = list(await asyncio.gather(*map(self._review, self._alone(name, whole))))
        stopped = [one for one in each if one.is_stopped]
        recorded = stopped or ([whole] if whole.review and (whole.review.fresh or whole.is_stopped) else [])
        return _tools_left(listed(self._fields[name]), whole, each), recorded

    async def _review(self, message: Body) -> ReviewedMessage:
        return (await MessageReviews(self._moderator, [message]).review())[0]

    async def _cached(self, message: Body) -> ReviewedMessage:
        return (await MessageReviews(self._moderator, [message]).cached())[0]

    def _alone(self, name: str, whole: ReviewedMessage) -> list[Body]:
        """The definitions that are judged each by itself: those of a refused set."""
        tools = listed(self._fields[name])
        refused = whole.review is not None and whole.review.is_refused
        return [_tools_message(tool) for tool in tools] if refused and 1 < len(tools) <= _MOST_TOOLS else []


def _refusing(words: list[ReviewedMessage]) -> ReviewedMessage | None:
    return next((one for one in words if one.is_stopped), None)


def _tools_left(tools: list[Any], whole: ReviewedMessage, each: list[ReviewedMessage]) -> list[Any]:
    """The tools that may be sent. Without a verdict there are none.

    Args:
        tools: the definitions.
        whole: all of them together.
        each: those that were judged each by itself.
    """
    if not whole.is_stopped:
        return tools
    passing = [tool for tool, one in zip(tools[: len(each)], each, strict=True) if not one.is_stopped]
    # If only all of them together are unsafe, nobody can say which are not.
    return passing if len(passing) < len(tools) else []


def _with_tools(fields: Body, name: str, left: list[Any]) -> Body:
    if len(left) == len(listed(fields[name])):
        return fields
    without = {key: value for key, value in fields.items() if key != name}
    chosen = {_tool_name(object_or_empty(without.get(key))) for key in _CHOICES[name]} - {None}
    if not left or not chosen <= {_tool_name(object_or_empty(tool)) for tool in left}:
        without = {key: value for key, value in without.items() if key not in _CHOICES[name]}
    return {**without, **({name: left} if left else {})}


def _tool_name(tool: Body) -> str | None:
    """The name of a tool, or of the one that is chosen."""
    inner = object_or_empty(tool.get("function") or tool.get("custom"))
    name = inner.get("name", tool.get("name"))
    return name if isinstance(name, str) else None


def _tools_message(tools: Any) -> Body:
    return _as_message(find(tools, "description").texts, [])


def _as_message(texts: list[str], media: list[str]) -> Body:
    return {
        "role": "user",
        "content": [{"type": "text", "text": "\n".join(texts)}, *({"type": kind} for kind in media)],
    }


def _treated_as(name: str, treatment: Treatment) -> bool:
    return REQUEST_FIELDS.get(name) is treatment
