"""What a model server says, in a streamed answer and about its failures, whichever way a host reaches the server."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from webui.bodies import Body, object_or_empty, objects_in
from webui.guarded.event_stream import Event
from webui.guarded.upstream import UpstreamFailed

# Of a server's own words about its failure.
_MOST_WORDS = 300


def server_words(reply: Any, blanked: Callable[[str], str] = str) -> str:
    """The server's own words about its failure, on one line.

    Args:
        reply: what it sent.
        blanked: removes keys, which the server may quote.
    """
    error = reply.get("error", reply) if isinstance(reply, dict) else reply
    said = object_or_empty(error)
    message = next((said[key] for key in ("message", "detail", "msg") if isinstance(said.get(key), str)), None)
    return blanked(" ".join(str(message or error).split()))[:_MOST_WORDS]


def raise_error_in(reply: Any, event: str = "", blanked: Callable[[str], str] = str) -> None:
    """Raises UpstreamFailed for an error that came with status 200, as many servers send it."""
    value = object_or_empty(reply)
    in_choices = next((choice["error"] for choice in objects_in(value.get("choices")) if choice.get("error")), None)
    error = value.get("error") or in_choices
    is_error = event == "error" or "error" in (value.get("object"), value.get("type"))
    if error or (is_error or ("detail" in value and "choices" not in value)):
        words = server_words({"error": error} if error else value, blanked)
        raise UpstreamFailed("The model server failed", 502, words)


def checked_completion(reply: Any) -> Body:
    """An unstreamed answer, if it has at least one choice. Raises UpstreamFailed."""
    if not list(objects_in(object_or_empty(reply).get("choices"))):
        raise UpstreamFailed("The model server's answer is no chat completion.", 502)
    return object_or_empty(reply)


class ChunkReader:
    """Takes the chunks out of the events of one streamed answer, and says at its end whether it was whole.

    Args:
        blanked: removes keys from what the server says about its failure.
    """

    def __init__(self, blanked: Callable[[str], str] = str) -> None:
        self._blanked = blanked
        self._complete = self._has_choices = self._answered = False

    async def chunks(self, events: AsyncIterator[Event]) -> AsyncIterator[Body]:
        """The chunks.

        Raises:
            UpstreamFailed: the server sent an error in place of a chunk.
        """
        async for value, name in events:
            self._answered = True
            raise_error_in(value, name, self._blanked)
            chunk = object_or_empty(value)
            for choice in objects_in(chunk.get("choices")):
                self._has_choices = True
                self._complete = (
                    self._complete or bool(choice.get("finish_reason")) or chunk.get("object") == "chat.completion"
                )
            if chunk:
                yield chunk

    def check_whole(self, *, done: bool, unreadable: bool) -> None:
        """Raises UpstreamFailed if the answer was not complete, or none at all.

        Args:
            done: whether the server said that it is done.
            unreadable: whether some of what it sent was no JSON.
        """
        if self._has_choices and (self._complete or done):
            return
        if self._has_choices or not (self._answered or unreadable):
            raise UpstreamFailed("The model server ended before its answer was complete. Please try again.", 502)
        raise UpstreamFailed("The model server's answer cannot be read: it is no chat completion.", 502)
