"""What a request holds next to its messages: judged, and without what may not be sent.

Its words (documents, a prediction, a grammar) are judged as a prompt of their own. Definitions of tools are judged too,
but never refuse a prompt: Open WebUI's own are long and technical, and an unsafe one is left out.
"""

import asyncio
from typing import Any, NamedTuple

from moderation.policy import Action
from moderation.review import Review
from pipelines.json_text import find
from pipelines.moderator import Moderator
from pipelines.request_fields import REQUEST_FIELDS, Treatment, words_in
from pipelines.webui import Body, listed, object_or_empty

# Of a refused set with more definitions than this, none is judged by itself: all are left out.
_MOST_TOOLS = 64
# What a server rejects without tools, or chooses among them.
_CHOICES = {"tools": ("tool_choice", "parallel_tool_calls"), "functions": ("function_call",)}

Reviewed = tuple[Body, Review]


class Extra(NamedTuple):
    """The fields of a request next to its messages, reviewed."""

    fields: Body
    """As they may be sent."""
    refused: Reviewed | None
    """The words that refuse the request, as a message, and why."""
    judged: tuple[tuple[str, Body, Review], ...] = ()
    """What belongs into the audit: its direction, its words as a message, and its review."""


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

    def known(self) -> Extra:
        """As far as verdicts are remembered."""
        found = [self._moderator.known([message])[0] for message in self._words]
        fields = self._fields
        for name in self._tools:
            (whole,) = self._moderator.known([_tools_message(self._fields[name])])
            each = self._alone(name, whole)
            reviews = [self._moderator.known([message])[0] for message in each]
            fields = _with_tools(fields, name, _tools_left(listed(self._fields[name]), whole, each, reviews))
        return Extra(fields, self._refused(found))

    async def review(self) -> Extra:
        """Everything judged."""
        words, *tools = await asyncio.gather(
            self._moderator.review(self._words), *(self._review_tools(name) for name in self._tools)
        )
        judged = [("prompt", message, result) for message, result in zip(self._words, words, strict=True) if result]
        fields = self._fields
        for name, (left, records) in zip(self._tools, tools, strict=True):
            fields = _with_tools(fields, name, left)
            judged += [("tools", message, result) for message, result in records]
        return Extra(fields, self._refused(words), tuple(judged))

    async def _review_tools(self, name: str) -> tuple[list[Any], list[Reviewed]]:
        tools = listed(self._fields[name])
        message = _tools_message(self._fields[name])
        (whole,) = await self._moderator.review([message])
        each = self._alone(name, whole)
        reviews = [found for (found,) in await asyncio.gather(*(self._moderator.review([one]) for one in each))]
        left = _tools_left(tools, whole, each, reviews)
        alone = [(one, found) for one, found in zip(each, reviews, strict=True) if found and not found.decision.passes]
        told = alone or ([(message, whole)] if whole and (whole.fresh or not whole.decision.passes) else [])
        return left, told

    def _alone(self, name: str, whole: Review | None) -> list[Body]:
        """The definitions that are judged each by itself: those of a refused set."""
        tools = listed(self._fields[name])
        refused = whole is not None and whole.decision.action is Action.REFUSE
        return [_tools_message(tool) for tool in tools] if refused and 1 < len(tools) <= _MOST_TOOLS else []

    def _refused(self, reviews: list[Review | None]) -> Reviewed | None:
        for message, result in zip(self._words, reviews, strict=True):
            if result and not result.decision.passes:
                return message, result
        return None


def _tools_left(tools: list[Any], whole: Review | None, each: list[Body], reviews: list[Review | None]) -> list[Any]:
    """The tools that may be sent. Without a verdict there are none."""
    if whole is None or whole.decision.passes:
        return tools
    pairs = zip(tools[: len(each)], reviews, strict=True)
    passing = [tool for tool, found in pairs if found is None or found.decision.passes]
    # Where only all of them together are unsafe, nobody can say which are not.
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
