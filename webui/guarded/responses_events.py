"""A streamed answer of OpenAI's Responses API, said again as chunks of a chat completion, which all else here reads.

Events repeat what was said before: after its deltas a text comes whole, for itself, for its part, for its item and for
the response. Of a repetition counts only what goes beyond the deltas, so a server without deltas is read too.
What has no place in a chat completion (searches, code, pictures that the server made) is left out.
Shapes: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from typing import Any

from webui.bodies import Body, object_or_empty, objects_in
from webui.chat_completions import chunk, delta_choice

_FINISH_OF = {"max_output_tokens": "length", "content_filter": "content_filter"}
_FIGURE_OF = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
# The kinds of texts, by the names that events and items have for them: the key of a delta.
_KEY_OF = {
    "output_text": "content",
    "text": "content",
    "refusal": "refusal",
    "reasoning_text": "reasoning_content",
    "reasoning_summary_text": "reasoning_content",
    "summary_text": "reasoning_content",
}
_ARGUMENTS_OF = {"function_call_arguments": "function", "custom_tool_call_input": "custom"}
_CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
_TEXT_OF_CALL = dict(_CALLS.values())
_ENDS = ("response.completed", "response.incomplete")
_FAILED = ("response.failed", "response.cancelled", "response.error")

_Place = tuple[int | str, ...]


def is_responses_event(event: Body) -> bool:
    """Whether an event of a stream belongs to the Responses API."""
    kind = event.get("type")
    return isinstance(kind, str) and kind.startswith("response.")


class ResponsesEvents:
    """Reads the events of one answer."""

    def __init__(self) -> None:
        self._envelope: Body = {"object": "chat.completion.chunk"}
        # How many characters of each text were said.
        self._said: dict[_Place, int] = {}
        # Where the text before belongs, by the key of its delta: the next text is a paragraph of its own.
        self._last: dict[str, _Place] = {}
        # The number of each call among the calls, by the place of its item.
        self._calls: dict[int, int] = {}
        self._cited: dict[_Place, int] = {}

    def chunks_of(self, event: Body) -> list[Body]:
        """What an event adds to the answer."""
        kind = str(event.get("type"))
        _, _, name = kind.partition(".")
        subject, _, step = name.rpartition(".")
        place = _number(event.get("output_index"))
        deltas: list[Body] = []
        if kind in _FAILED:
            return [{"error": _error_of(event)}]
        if kind in _ENDS:
            return self._end(object_or_empty(event.get("response")))
        if subject == "output_item":
            deltas = self._item(place, object_or_empty(event.get("item")))
        elif subject in ("content_part", "reasoning_summary_part"):
            deltas = self._part(self._place(event), object_or_empty(event.get("part")))
        elif subject in _ARGUMENTS_OF:
            whole = event.get("arguments", event.get("input"))
            deltas = self._argument(place, _ARGUMENTS_OF[subject], event.get("delta"), whole)
        elif subject in _KEY_OF:
            deltas = self._text(self._place(event), _KEY_OF[subject], event.get("delta"), _whole(event))
        elif subject == "output_text.annotation" and step == "added":
            deltas = self._annotations(self._place(event), [event.get("annotation")], grows=True)
        elif not subject:
            self._begin(object_or_empty(event.get("response")))
        return [chunk(self._envelope, delta_choice(delta)) for delta in deltas]

    def _begin(self, response: Body) -> None:
        named = {"id": response.get("id"), "created": response.get("created_at"), "model": response.get("model")}
        self._envelope |= {key: value for key, value in named.items() if value is not None}

    def _end(self, response: Body) -> list[Body]:
        self._begin(response)
        items = enumerate(objects_in(response.get("output")))
        deltas = [delta for place, item in items for delta in self._item(place, item)]
        cut = object_or_empty(response.get("incomplete_details")).get("reason")
        incomplete = response.get("status") == "incomplete" or cut
        reason = _FINISH_OF.get(str(cut), "length") if incomplete else "tool_calls" if self._calls else "stop"
        usage = {_FIGURE_OF.get(key, key): value for key, value in object_or_empty(response.get("usage")).items()}
        chunks = [chunk(self._envelope, delta_choice(delta)) for delta in deltas]
        chunks.append(chunk(self._envelope, delta_choice({}, finish_reason=reason)))
        return [*chunks, *([{**chunk(self._envelope), "usage": usage}] if usage else [])]

    def _item(self, place: int, item: Body) -> list[Body]:
        """What an item says beyond what was said of it."""
        kind = item.get("type")
        if kind in _CALLS:
            inner, key = _CALLS[kind]
            begun = [] if place in self._calls else [self._call(place, inner, item)]
            return begun + self._argument(place, inner, None, item.get(key))
        deltas: list[Body] = []
        for group in ("summary", "content"):
            for number, part in enumerate(objects_in(item.get(group))):
                deltas += self._part((place, group, number), part)
        return deltas

    def _part(self, place: _Place, part: Body) -> list[Body]:
        key = _KEY_OF.get(str(part.get("type")))
        if key is None:
            return []
        said = self._text(place, key, None, _whole(part))
        annotations = part.get("annotations")
        return said + self._annotations(place, annotations if isinstance(annotations, list) else [])

    def _text(self, place: _Place, key: str, delta: Any, whole: Any) -> list[Body]:
        new = self._beyond(place, delta, whole)
        if not new:
            return []
        before, self._last[key] = self._last.get(key, place), place
        return [{key: f"\n\n{new}" if before != place else new}]

    def _call(self, place: int, inner: str, item: Body) -> Body:
        number = self._calls[place] = len(self._calls)
        said = {"name": item.get("name"), _TEXT_OF_CALL[inner]: ""}
        return {"tool_calls": [{"index": number, "id": item.get("call_id"), "type": inner, inner: said}]}

    def _argument(self, place: int, inner: str, delta: Any, whole: Any) -> list[Body]:
        new = self._beyond((place, inner), delta, whole)
        # Arguments of a call that nobody began have no name, so nobody can call anything with them.
        if not new or place not in self._calls:
            return []
        return [{"tool_calls": [{"index": self._calls[place], inner: {_TEXT_OF_CALL[inner]: new}}]}]

    def _annotations(self, place: _Place, annotations: list[Any], *, grows: bool = False) -> list[Body]:
        """Citations as chat completions have them: the fields of a kind under its name."""
        cited = self._cited.get(place, 0)
        new = annotations if grows else annotations[cited:]
        self._cited[place] = cited + len(new)
        found = [
            {"type": one["type"], one["type"]: {key: value for key, value in one.items() if key != "type"}}
            for one in objects_in(new)
            if one.get("type") == "url_citation"
        ]
        return [{"annotations": found}] if found else []

    def _beyond(self, place: _Place, delta: Any, whole: Any) -> str:
        """The part of a text that was not said: a delta, or the end of the whole."""
        said = self._said.get(place, 0)
        new = delta if isinstance(delta, str) else whole[said:] if isinstance(whole, str) else ""
        self._said[place] = said + len(new)
        return new

    def _place(self, event: Body) -> _Place:
        """Where a text belongs: its item, and its number among the item's texts or its summaries."""
        group = "summary" if "summary_index" in event else "content"
        return _number(event.get("output_index")), group, _number(event.get(f"{group}_index"))


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _whole(part: Body) -> Any:
    return part.get("text", part.get("refusal"))


def _error_of(event: Body) -> Any:
    error = event.get("error") or object_or_empty(event.get("response")).get("error")
    return error or {"message": event.get("message") or "it gave no reason"}
