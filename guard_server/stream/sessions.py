"""Holds the streams of one server, within bounds on their number and idle time."""

import asyncio
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

from guard_server.stream.bytes_in_flight import InFlight
from guard_server.stream.live_stream import LiveStream, StreamModel
from guard_server.stream.stream_errors import Conflict, Full, UnknownStream
from moderation.conversation import Conversation
from moderation.verdict import Category


@dataclass(frozen=True)
class Limits:
    """Bounds that keep one client from using all resources: a stream costs memory here, and requests in the engine."""

    streams: int = 1024
    idle_seconds: float = 120
    """Seconds from one message to the end of the next one."""
    message_seconds: float = 30
    """Seconds from the opening of a socket to the end of its first message; for a request, to the end of its body."""
    reply_seconds: float = 30
    """Seconds until a client must have read enough for a reply to be sent."""
    room_seconds: float = 15
    """Seconds until there must be room for a message. Less than uvicorn's 20 seconds for the answer to a ping, which
    is queued after that message."""
    stream_seconds: float = 3600
    """Seconds of a stream in all: a client that sends only empty texts is not idle."""
    message_bytes: int = 2**20
    """Size of one message or request, as it was sent."""
    socket_bytes: int = 2 * 2**20
    """Unjudged texts of one socket in memory; further messages wait in the network."""
    bytes_in_all: int = 64 * 2**20
    """The same for all sockets and requests together."""
    characters: int = 400_000
    """Of a conversation, and of an answer: far more than fits the context, which is counted in tokens."""


@dataclass
class _Entry:
    stream: LiveStream | None = None
    busy: bool = True
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    ends_at: float = 0
    """By the event loop's clock; applies even if the stream is in use."""


class Sessions:
    """Open streams by their ids. To be used from one event loop."""

    def __init__(self, model: StreamModel, limits: Limits) -> None:
        self._model = model
        self.limits = limits
        self.in_flight = InFlight(limits.bytes_in_all)
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def reserve(self) -> str:
        """A place for a stream, which the caller must `park` or `close`. Raises Full if there is none."""
        if len(self) >= self.limits.streams:
            raise Full(f"all {self.limits.streams} streams of this server are in use; try again later")
        key = secrets.token_urlsafe(16)
        self._entries[key] = _Entry(ends_at=asyncio.get_running_loop().time() + self.limits.stream_seconds)
        return key

    def open(self, key: str, conversation: Conversation, allowed: Collection[Category]) -> LiveStream:
        """The stream for a reserved place: see `LiveStream`."""
        self._entries[key].stream = stream = LiveStream(self._model, conversation, allowed)
        return stream

    def take(self, key: str) -> LiveStream:
        """A parked stream, for exclusive use by the caller.

        Raises:
            UnknownStream: no stream has that id, or it has ended, or it was idle for too long.
            Conflict: it is in use.
        """
        entry = self._entries.get(key)
        if entry is None or entry.stream is None:
            raise UnknownStream("no such stream: it ended or was idle; open another with messages and all text", "id")
        if entry.busy:
            raise Conflict("this stream is being judged: send the next text after the reply", "id")
        entry.busy = True
        if entry.timer is not None:
            entry.timer.cancel()
        return entry.stream

    def park(self, key: str) -> None:
        """Return a stream; it is closed after a while if it is not used again."""
        entry = self._entries[key]
        entry.busy = False
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_at(min(loop.time() + self.limits.idle_seconds, entry.ends_at), self.close, key)

    def close(self, key: str) -> None:
        """Remove a stream."""
        self._entries.pop(key, None)
