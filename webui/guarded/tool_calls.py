"""The tool calls of a streamed answer, put together from the pieces that their server sends."""

import json
from collections.abc import Iterator
from typing import Any

from moderation.answer.channels import Channel, Piece, Rank
from webui.bodies import Body, object_or_empty
from webui.guarded.growing_json import GrowingJson
from webui.json_text import find

# OpenAI's two kinds of calls, and the key of each under which its text grows.
_TEXT_OF = {"function": "arguments", "custom": "input"}
# More than any model calls at once.
_MOST_CALLS = 128


class TooManyCalls(Exception):
    """An upstream sends more calls than any model makes."""


class ToolCall:
    """One call, which grows."""

    def __init__(self, choice: int, place: int, kind: str) -> None:
        self._choice = choice
        self._place = place
        self._kind = kind
        self._fields: Body = {}
        self._name = ""
        self._text = GrowingJson()

    @property
    def id(self) -> str:
        return str(self._fields.get("id") or "")

    @property
    def name(self) -> str:
        return self._name

    def is_complete(self) -> bool:
        """Whether its arguments are a whole JSON value."""
        return self._text.is_complete()

    def add(self, piece: Body) -> Iterator[Piece]:
        """What a piece of the call adds to what the guard reads."""
        said = object_or_empty(piece.get(self._kind))
        name = said.get("name")
        # Some servers repeat the name in every piece.
        if isinstance(name, str) and name and name != self._name:
            self._name += name
            yield self._piece(0, "name", name)
        grown = said.get(_TEXT_OF[self._kind])
        if grown not in (None, ""):
            # OpenAI's are text; other servers send the object itself.
            text = grown if isinstance(grown, str) else json.dumps(grown, ensure_ascii=False)
            self._text.add(text)
            yield self._piece(1, "text", text)
        known = ("name", _TEXT_OF[self._kind])
        others = _sayable({key: value for key, value in piece.items() if key not in ("index", self._kind)})
        more = _sayable({key: value for key, value in said.items() if key not in known})
        for key, value in others.items():
            if self._fields.get(key) != value:
                # Some servers give every piece an id of its own: the first one stays.
                self._fields[key] = self.id or value if key == "id" else value
                yield from self._said_once(key, value)
        for key, value in more.items():
            if object_or_empty(self._fields.get(self._kind)).get(key) != value:
                self._fields.setdefault(self._kind, {})[key] = value
                yield from self._said_once(key, value)

    def whole(self) -> Body:
        """The call, as one piece."""
        said = {**object_or_empty(self._fields.get(self._kind)), "name": self._name}
        said[_TEXT_OF[self._kind]] = self._text.text
        return {"index": self._place, **self._fields, self._kind: said}

    def _said_once(self, key: str, value: Any) -> Iterator[Piece]:
        for text in find({key: value}).texts:
            yield self._piece(2, key, f"{text}\n")

    def _piece(self, order: int, key: str, text: str) -> Piece:
        return Piece(Channel(self._choice, Rank.CALL, self._place, f"{order} {key}"), text)


class ToolCalls:
    """All calls of one choice."""

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._calls: list[ToolCall] = []
        self._by_place: dict[int | str, ToolCall] = {}

    def add(self, pieces: list[Body]) -> Iterator[Piece]:
        """What one chunk's list of calls adds to what the guard reads.

        Raises:
            TooManyCalls
        """
        for position, piece in enumerate(map(_nested, pieces)):
            yield from self._call_of(piece, position).add(piece)

    def whole(self) -> list[Body]:
        """All calls, each as one piece, in the order in which they began."""
        return [call.whole() for call in self._calls]

    def _call_of(self, piece: Body, position: int) -> ToolCall:
        index, number = piece.get("index"), piece.get("id")
        by_id = next((call for call in self._calls if number and call.id == number), None)
        # Without an index, the id tells calls apart; without both, the place in the list.
        key = index if isinstance(index, int | str) else f"position {position}"
        known = by_id or self._by_place.get(key)
        if known is None or (by_id is None and _begins_another(piece, known)):
            known = self._new(piece)
        self._by_place[key] = known
        return known

    def _new(self, piece: Body) -> ToolCall:
        if len(self._calls) == _MOST_CALLS:
            raise TooManyCalls
        kind = "custom" if isinstance(piece.get("custom"), dict) else "function"
        self._calls.append(ToolCall(self._choice, len(self._calls), kind))
        return self._calls[-1]


def _nested(piece: Body) -> Body:
    """The piece with name and arguments where OpenAI has them, also if its server puts them next to the id."""
    flat = {key: piece[key] for key in ("name", "arguments") if key in piece}
    if not flat or any(kind in piece for kind in _TEXT_OF):
        return piece
    return {**{key: value for key, value in piece.items() if key not in flat}, "function": flat}


def _sayable(fields: Body) -> Body:
    """The fields that say something. Some servers repeat all of them empty; pictures have no place in a call."""
    return {key: value for key, value in fields.items() if value not in (None, "") and not find(value).media}


def _begins_another(piece: Body, known: ToolCall) -> bool:
    """Whether a piece at the place of a call belongs to another one: some servers give all calls one place, or none."""
    name = _name_of(piece)
    if not name or not known.name:
        return False
    # With an index, a name may come in two parts; other servers give every piece an id of its own.
    is_separate = not isinstance(piece.get("index"), int | str) or bool(piece.get("id") and known.id)
    return known.is_complete() or (is_separate and name != known.name)


def _name_of(piece: Body) -> str:
    return next((str(name) for kind in _TEXT_OF if (name := object_or_empty(piece.get(kind)).get("name"))), "")
