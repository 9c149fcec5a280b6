"""A JSON object or list that arrives in pieces: whether it is whole, at a cost in proportion to what arrives."""

import json
import re

_JSON_SIGN = re.compile(r"\\.|[\"\\{}\[\]]", re.DOTALL)
# What JSON allows around a value.
_JSON_WHITE = " \t\r\n"


class GrowingJson:
    """The pieces of one text. Only its end is looked at with each piece: to parse all of it each time is quadratic."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._depth = 0
        self._quoted = False
        self._escaping = False
        self._closed: bool | None = None

    @property
    def text(self) -> str:
        """All that arrived."""
        return "".join(self._parts)

    def add(self, part: str) -> None:
        """Add what arrived next."""
        self._parts.append(part)
        if self._closed is not None:
            # The value had its end: nothing but white space may follow.
            self._closed = self._closed and not part.strip(_JSON_WHITE)
            return
        start, self._escaping = int(self._escaping and bool(part)), self._escaping and not part
        for sign in _JSON_SIGN.finditer(part, start):
            self._step(sign[0])
            if self._depth == 0 and sign[0] in ("}", "]") and not self._quoted:
                self._closed = not part[sign.end() :].strip(_JSON_WHITE) and _is_json(self.text)
                return

    def is_complete(self) -> bool:
        """Whether the text is a whole JSON object or list."""
        return bool(self._closed)

    def _step(self, sign: str) -> None:
        if sign[0] == "\\":
            self._escaping = self._quoted and len(sign) == 1
        elif sign == '"':
            self._quoted = not self._quoted
        elif not self._quoted:
            self._depth = max(0, self._depth + (1 if sign in "{[" else -1))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
