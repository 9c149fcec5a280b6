"""A JSON object or list that arrives in pieces: whether it is whole, at a cost in proportion to what arrived."""

import json
import re

# A string, and its closing quote if that has arrived.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
# What JSON allows around a value.
_JSON_WHITE = " \t\r\n"


class GrowingJson:
    """The pieces of one text. Each is looked at once, and only if somebody asks: with most servers, nobody does."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._seen = 0
        self._depth = 0
        # The beginning of what is looked at next: the quote of a string that goes on, and half an escape in it.
        self._begun = ""
        self._closed: bool | None = None

    @property
    def text(self) -> str:
        """All that arrived."""
        return "".join(self._parts)

    def add(self, part: str) -> None:
        """Add what arrived next."""
        self._parts.append(part)

    def is_complete(self) -> bool:
        """Whether the text is a whole JSON object or list."""
        part, self._seen = "".join(self._parts[self._seen :]), len(self._parts)
        if self._closed is None:
            self._look_at(part)
        else:
            # The value had its end: nothing but white space may follow.
            self._closed = self._closed and not part.strip(_JSON_WHITE)
        return bool(self._closed)

    def _look_at(self, part: str) -> None:
        # In turn: what is between two strings, and the closing quote of the second.
        pieces = _STRING.split(self._begun + part)
        self._begun = '"' + pieces[-1] if pieces[-2:-1] == [""] else ""
        between = "".join(pieces[::2])
        closing = sum(map(between.count, "}]"))
        self._depth += sum(map(between.count, "{[")) - closing
        if closing and self._depth <= 0:
            self._closed = _is_json(self.text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
