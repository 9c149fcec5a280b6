"""Server-sent events as model servers send them: by the standard, and as tolerantly as clients that people use.

Read in any of these ways: lines that end in LF, CR or CRLF, a byte order mark, comments, pings, log lines, several
`data:` lines in one event, several values in one `data:` line, events without an empty line between them, JSON lines
without `data:`, one JSON value instead of a stream, bytes that are no UTF-8.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
# A proxy may put `data:` before a line that has it.
_FIELD = re.compile(rb"\s*(data|event|id|retry)\b(?::\s*data)*:? ?", re.IGNORECASE)
_DONE = b"[DONE]"
_USUAL_BEGINNING = b"data: {"
_JSON_BEGINS = (b"{", b"[")
_DECODER = json.JSONDecoder()
_BETWEEN_VALUES = re.compile(r"(?:\s|data:)*")
# A picture of 12 MB as a data URL in one event; no server that answers in text comes near.
_MOST_EVENT_BYTES = 16 * 1024 * 1024
# Of a complete answer: a stream may not be endless.
_MOST_STREAM_BYTES = 256 * 1024 * 1024
_TOO_LARGE = "The model server's answer is too large."
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class StreamUnreadable(Exception):
    """The reply is not a stream of JSON. The text gives the reason, in words for users."""


class Event(NamedTuple):
    """One event."""

    value: Any
    """Its data, parsed as JSON."""
    name: str
    """Empty if the server sends none."""


class EventStream:
    """Splits one reply into events. After `events` has ended, `done` says if the server ended it."""

    def __init__(self, received: AsyncIterator[bytes]) -> None:
        self._received = received
        self.done = False
        """Whether the server sent [DONE]."""
        self.unreadable = False
        """Whether the reply had data that is not JSON and was left out."""
        self._waiting_bytes = 0

    async def events(self) -> AsyncIterator[Event]:
        """All events up to [DONE], or to the end of the reply.

        Raises:
            StreamUnreadable: an event is too large, too deeply nested, or broken, so that the answer would have a hole.
        """
        data: list[bytes] = []
        bare: list[bytes] = []
        name, first = "", True
        async for line in _lines(self._received):
            if first:
                line, first = line.removeprefix(_BYTE_ORDER_MARK), False
            if not (data or bare or name):
                # Nearly all lines: an event on one line, and the empty line after it.
                if not line:
                    continue
                if event := _usual_event(line):
                    yield event
                    continue
            field = _FIELD.match(line)
            said = line[field.end() if field else 0 :].strip()
            events: list[Event] = []
            if field and bare:
                # What began like JSON was a line of a log, or JSON that has no end.
                events, bare = self._read(bare, ""), []
            if not line:
                events = self._read_complete(data, name)
                data, name = [], ""
            elif field is None and said == _DONE:
                self.done = True
            elif field is None and (bare or said[:1] in _JSON_BEGINS):
                # JSON without `data:`, on one line or more.
                events = self._with_line(bare, line, "")
            elif field and field[1].lower() == b"event":
                name = said.decode("utf-8", "replace")
            elif field and field[1].lower() == b"data":
                self.done = said.strip(b'"').upper() == _DONE
                events += self._read_complete(data, name) if self.done else self._with_line(data, said, name)
            for event in events:
                yield event
            if self.done:
                return
        for event in (*self._read(data, name), *self._read(bare, "")):
            yield event

    def _with_line(self, waiting: list[bytes], line: bytes, name: str) -> list[Event]:
        """The event on `line`, if it is complete, as with most servers; if not, the line is kept for later ones."""
        begun = bool(waiting) and waiting[0].lstrip()[:1] in _JSON_BEGINS
        if not begun and (events := self._read([line], name, whole=False)):
            waiting.clear()
            return events
        self._waiting_bytes = len(line) + 1 + (self._waiting_bytes if waiting else 0)
        waiting.append(line)
        if self._waiting_bytes > _MOST_EVENT_BYTES:
            raise StreamUnreadable(_TOO_LARGE)
        return []

    def _read(self, data: list[bytes], name: str, *, whole: bool = True) -> list[Event]:
        """The event in some lines of data; none if they are not JSON, or not complete yet."""
        text = b"\n".join(data)
        if not text.strip():
            return []
        try:
            return [Event(value, name) for value in _values(text)]
        except RecursionError:
            raise StreamUnreadable("The model server's answer is nested too deeply.") from None
        except ValueError:
            self.unreadable = self.unreadable or whole
            # Some servers say in plain words what went wrong.
            return [Event(text.decode("utf-8", "replace"), name)] if whole and name == "error" else []

    def _read_complete(self, data: list[bytes], name: str) -> list[Event]:
        """The event in lines after which the server began another. Pings are left out, but no part of an answer."""
        events = self._read(data, name)
        if data and not events and data[0].startswith(b"{"):
            raise StreamUnreadable("A part of the model server's answer cannot be read.")
        return events


def _values(text: bytes) -> list[Any]:
    """The JSON values that a text begins with. Raises ValueError if it begins with none."""
    try:
        return [json.loads(text)]
    except ValueError:
        written, values, at = text.decode("utf-8", "replace"), list[Any](), 0
    while at < len(written):
        try:
            value, end = _DECODER.raw_decode(written, at)
        except ValueError:
            if not values:
                raise
            break
        values.append(value)
        between = _BETWEEN_VALUES.match(written, end)
        at = between.end() if between else end
    return values


def _usual_event(line: bytes) -> Event | None:
    """The event of a line in the usual form; None for any other line."""
    if not line.startswith(_USUAL_BEGINNING):
        return None
    try:
        return Event(json.loads(str(line[len(_USUAL_BEGINNING) - 1 :], "utf-8")), "")
    except (ValueError, RecursionError):
        return None


async def _lines(received: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines, without their line ends."""
    # One growing buffer: a server that sends single bytes would fill a list with objects.
    rest = bytearray()
    total, after_cr = 0, False
    async for part in received:
        total += len(part)
        if after_cr and part[:1] == b"\n":
            part = part[1:]
        after_cr = part.endswith(b"\r") if part else after_cr
        *lines, last = _LINE_END.split(part)
        for line in lines:
            yield bytes(rest) + line
            rest.clear()
        rest += last
        if len(rest) > _MOST_EVENT_BYTES or total > _MOST_STREAM_BYTES:
            raise StreamUnreadable(_TOO_LARGE)
    if rest:
        yield bytes(rest)
