"""What a model server says, in a streamed answer and about its failures, whichever way a host reaches the server."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from moderation.error_words import error_words
from webui.bodies import Body, listed, object_or_empty, objects_in
from webui.guarded.choice import finish_reason
from webui.guarded.event_stream import Event
from webui.guarded.upstream import UpstreamFailed

# Of a server's own words about its failure.
_MOST_WORDS = 300
_NO_COMPLETION = "The model server's answer cannot be read: it is no chat completion"
_NOT_COMPLETE = "The model server ended before its answer was complete"


def server_words(reply: Any, blanked: Callable[[str], str] = str) -> str:
    """The server's own words about its failure, on one line.

    Args:
        reply: what it sent.
        blanked: removes keys, which the server may quote.
    """
    # Google's API sends a list.
    first = reply[0] if isinstance(reply, list) and reply else reply
    error = first.get("error", first) if isinstance(first, dict) else first
    words = error_words(reply) or str("" if error is None else error)
    return blanked(" ".join(words.split()))[:_MOST_WORDS]


def raise_error_in(reply: Any, event: str = "", blanked: Callable[[str], str] = str) -> None:
    """Raises UpstreamFailed for an error that came with status 200, as many servers send it."""
    value = object_or_empty(reply)
    in_choices = next((choice["error"] for choice in objects_in(value.get("choices")) if choice.get("error")), None)
    error = value.get("error") or in_choices
    is_error = event == "error" or "error" in (value.get("object"), value.get("type"))
    if error or (is_error or ("detail" in value and "choices" not in value)):
        words = server_words({"error": error} if error else reply, blanked)
        raise UpstreamFailed("The model server failed", 502, words)


def checked_completion(reply: Any, blanked: Callable[[str], str] = str) -> Body:
    """An unstreamed answer, if it has at least one choice. Raises UpstreamFailed."""
    if not list(objects_in(object_or_empty(reply).get("choices"))):
        raise _failure(_NO_COMPLETION, reply, blanked)
    return object_or_empty(reply)


def _failure(message: str, reply: Any, blanked: Callable[[str], str]) -> UpstreamFailed:
    """The failure, with what the server says in place of an answer, if that is a message."""
    words = server_words(reply, blanked) if error_words(object_or_empty(reply)) else ""
    return UpstreamFailed(message if words else f"{message}.", 502, words)


class ChunkReader:
    """Takes the chunks out of the events of one streamed answer, and says at its end whether it was whole.

    Args:
        blanked: removes keys from what the server says about its failure.
    """

    def __init__(self, blanked: Callable[[str], str] = str) -> None:
        self._blanked = blanked
        self._complete = self._has_choices = self._answered = False
        self._odd: Body = {}

    async def chunks(self, events: AsyncIterator[Event]) -> AsyncIterator[Body]:
        """The chunks.

        Raises:
            UpstreamFailed: the server sent an error in place of a chunk.
        """
        async for value, name in events:
            self._answered = True
            # Some servers send several chunks, or an error, in a list.
            for item in listed(value):
                raise_error_in(item, name, self._blanked)
                if chunk := object_or_empty(item):
                    self._look_at(chunk)
                    yield chunk

    def _look_at(self, chunk: Body) -> None:
        choices = list(objects_in(chunk.get("choices")))
        is_end = chunk.get("object") == "chat.completion" or any(map(finish_reason, choices))
        self._complete = self._complete or (bool(choices) and is_end)
        self._has_choices = self._has_choices or bool(choices)
        if not choices and not self._odd:
            self._odd = chunk

    def check_whole(self, *, done: bool, unreadable: bool) -> None:
        """Raises UpstreamFailed if the answer was not complete, or none at all.

        Args:
            done: whether the server said that it is done.
            unreadable: whether some of what it sent was no JSON.
        """
        if self._has_choices and (self._complete or done):
            return
        if self._has_choices or not (self._answered or unreadable):
            raise _failure(_NOT_COMPLETE, self._odd, self._blanked)
        raise _failure(_NO_COMPLETION, self._odd, self._blanked)
