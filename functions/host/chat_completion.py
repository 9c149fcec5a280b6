"""Open WebUI's own models as an upstream: asked in its process, by the way that its chats take."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from functions.host.host_modules import HostChanged, from_host
from webui.bodies import Body, object_or_empty
from webui.guarded.event_stream import Event, EventStream, StreamUnreadable
from webui.guarded.responses_events import ResponsesEvents, is_responses_event
from webui.guarded.server_replies import ChunkReader, checked_completion, raise_error_in, server_words
from webui.guarded.upstream import UpstreamFailed
from webui.log import log

# Open WebUI gives whoever has these three what it takes to write into the page, past everybody who judges.
_WRITES_INTO_PAGE = ("session_id",)
# What is true of the outer request only. A direct connection's models live in the user's browser.
_OF_OUTER = ("metadata", "direct", "model", "bypass_filter", "bypass_system_prompt")
# Far more than Open WebUI's queries take.
_QUERIES_SECONDS = 1.0
_ending: "set[asyncio.Future[None]]" = set()
_UNREACHED = "The model cannot be reached, or broke off its answer. Please try again."


class OwnUpstream:
    """One user's access to Open WebUI's models. Who may use which is the caller's matter.

    Args:
        request: the user's request. Nothing in it is changed.
        user: Open WebUI's record of the user.
        metadata: of the request.
        timeout: seconds of silence after which a model has failed.
        system: whether Open WebUI puts the model's own system prompt before the conversation.
    """

    def __init__(self, request: Request, user: Any, metadata: Body, timeout: float, *, system: bool = True) -> None:
        self._request = request
        self._user = user
        self._metadata = {key: value for key, value in metadata.items() if key not in _WRITES_INTO_PAGE}
        self._timeout = timeout
        self._system = system

    async def complete(self, body: Body, headers: Mapping[str, str] | None = None) -> Body:
        """The unstreamed answer to a chat-completions request, with at least one choice.

        Raises:
            UpstreamFailed
        """
        reply = await self._ask({**body, "stream": False})
        if isinstance(reply, StreamingResponse):
            await _close(reply)
        raise_error_in(reply)
        return checked_completion(reply)

    @asynccontextmanager
    async def stream(self, body: Body, headers: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[Body]]:
        """The chunks of a streamed answer; one whole completion if the model sends that instead.

        Raises:
            UpstreamFailed: here, and while chunks are read: also when the answer breaks off.
        """
        reply = await self._ask({**body, "stream": True})
        if not isinstance(reply, StreamingResponse):
            raise_error_in(reply)
            yield _only(checked_completion(reply))
            return
        try:
            yield self._chunks(reply)
        finally:
            await _close(reply)

    async def _ask(self, body: Body) -> Any:
        """The reply: an object, or a `StreamingResponse` that is no error."""
        ask = from_host("utils.chat", "generate_chat_completion")
        # What Open WebUI writes into a message must not be there when it sends the conversation again.
        messages = [dict(message) for message in body.get("messages") or []]
        sent = {**body, "messages": messages, "metadata": dict(self._metadata)}
        call = asyncio.ensure_future(
            ask(self._own_request(), sent, self._user, bypass_filter=True, bypass_system_prompt=not self._system)
        )
        try:
            async with asyncio.timeout(self._timeout):
                reply = await _unless_given_up(call)
        except TimeoutError:
            raise self._too_slow() from None
        except HTTPException as error:
            raise _answered(error.status_code, {"detail": error.detail}) from None
        except HostChanged:
            raise
        except Exception as error:
            # It raises a bare one for a model that it does not have (any more).
            if str(error) == "Model not found":
                raise UpstreamFailed("Model not found", 404) from None
            log.warning("a model could not be asked", exc_info=error)
            raise UpstreamFailed(_UNREACHED, 502) from None
        if isinstance(reply, Response) and not (isinstance(reply, StreamingResponse) and reply.status_code < 400):
            text = await _text_of_reply(reply)
            with suppress(ValueError, RecursionError):
                text = json.loads(text)
            if reply.status_code >= 400:
                raise _answered(reply.status_code, text)
            return text
        return reply

    def _own_request(self) -> Request:
        """The user's request with a state of its own: several models may share one, and each call writes into it."""
        state = object_or_empty(self._request.scope.get("state"))
        own = {name: value for name, value in state.items() if name not in _OF_OUTER}
        return Request({**self._request.scope, "state": own}, self._request.receive)

    async def _chunks(self, reply: StreamingResponse) -> AsyncIterator[Body]:
        stream, reader = EventStream(self._parts(reply)), ChunkReader()
        try:
            async for chunk in reader.chunks(_translated(stream.events())):
                yield chunk
        except StreamUnreadable as error:
            raise UpstreamFailed(str(error), 502) from None
        except RecursionError:
            raise UpstreamFailed("The model server's answer is nested too deeply.", 502) from None
        reader.check_whole(done=stream.done, unreadable=stream.unreadable)

    async def _parts(self, reply: StreamingResponse) -> AsyncIterator[bytes]:
        """What comes, as it comes."""
        parts = aiter(reply.body_iterator)
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise self._too_slow() from None
            except Exception as error:
                # A connection that breaks, or another Function that fails: their errors are of any kind.
                log.warning("an answer broke off: %s", type(error).__name__)
                raise UpstreamFailed(_UNREACHED, 502) from None
            yield part.encode("utf-8", "replace") if isinstance(part, str) else bytes(part)

    def _too_slow(self) -> UpstreamFailed:
        return UpstreamFailed(f"The model did not answer within {self._timeout:g} s. Please try again.", 504)


async def _unless_given_up(call: "asyncio.Future[Any]") -> Any:
    """What the call gives. If its caller is cancelled, it ends a little later."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        ending = asyncio.ensure_future(_end_given_up(call))
        _ending.add(ending)
        ending.add_done_callback(_ending.discard)
        raise


async def _end_given_up(call: "asyncio.Future[Any]") -> None:
    """Ends it, but not while Open WebUI asks its database, which it does before it asks the model.

    A query that is cancelled leaves its connection in Open WebUI's pool with an old state of the database, for whoever
    gets it next (0.12.4 with SQLite: `_keep_connection_on_cancel` in internal/db.py).
    """
    await asyncio.wait({call}, timeout=_QUERIES_SECONDS)
    call.cancel()
    reply = (await asyncio.gather(call, return_exceptions=True))[0]
    if isinstance(reply, StreamingResponse):
        await _close(reply)


async def _translated(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """The events; as chunks if they are those of the Responses API, which connections of that kind pass on as they are.

    The first event decides: among chunks, such an event is nothing that a model says.
    """
    responses: ResponsesEvents | None = None
    first = True
    async for event in events:
        value = object_or_empty(event.value)
        if first and is_responses_event(value):
            responses = ResponsesEvents()
        first = False
        if responses and is_responses_event(value):
            for chunk in responses.chunks_of(value):
                yield Event(chunk, "")
        else:
            yield event


async def _only(chunk: Body) -> AsyncIterator[Body]:
    yield chunk


def _answered(status: int, reply: Any) -> UpstreamFailed:
    if status in (401, 403):
        # The words of such a server may quote a part of the key.
        said = f"The model server refuses its key ({status}): an admin must set the key of its connection."
        return UpstreamFailed(said, status)
    return UpstreamFailed(f"The model server answered {status}", status, server_words(reply))


async def _text_of_reply(reply: Response) -> Any:
    """All of a reply that is no answer."""
    if not isinstance(reply, StreamingResponse):
        return bytes(reply.body).decode("utf-8", "replace")
    await _close(reply)
    return ""


async def _close(reply: StreamingResponse) -> None:
    """End the call to the model's server, now."""
    close = getattr(reply.body_iterator, "aclose", None)
    try:
        if close is not None:
            await close()
        if reply.background is not None:
            await reply.background()
    except Exception as error:
        # Whatever the end of a call does, the answer to it is complete.
        log.info("a call was not ended as it should be: %s", type(error).__name__)
