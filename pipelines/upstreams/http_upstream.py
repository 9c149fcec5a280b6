"""One server whose models are guarded, asked over HTTP: its list of models, its answers and its errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

# Reading a streamed answer through the `openai` SDK costs four times the processor time.
import aiohttp

from moderation.endpoint.transport import body_to_send, new_session, proxy_for
from webui.bodies import Body, object_or_empty
from webui.guarded.event_stream import EventStream, StreamUnreadable
from webui.guarded.server_replies import ChunkReader, checked_completion, raise_error_in, server_words
from webui.guarded.upstream import UpstreamFailed
from webui.log import log

# Connecting is quick or fails; what takes time is the answer.
_CONNECT_SECONDS = 10
_LIST_SECONDS = 10
# After [DONE] a server only ends its reply. The connection can be used again only if that end is read.
_LAST_BYTES_SECONDS = 0.1
# An unstreamed answer may hold pictures.
_MOST_REPLY_BYTES = 32 * 1024 * 1024
_MOST_MODELS = 2000
_LONGEST_ID = 200
_SHORTEST_SECRET = 6
_FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, RecursionError, StreamUnreadable)


class HttpUpstream:
    """One OpenAI-compatible server.

    Args:
        base_url: ends where `/chat/completions` is added; its query goes with every request (Azure's `api-version`).
        api_key: sent as a bearer; None for a server that wants none.
        timeout: seconds of silence after which it has failed.
        headers: sent with every request (Azure's `api-key`).
    """

    def __init__(
        self, base_url: str, api_key: str | None, timeout: float, headers: Mapping[str, str] | None = None
    ) -> None:
        self._address = urlsplit(base_url)
        self.base_url = urlunsplit(self._address._replace(query="")).rstrip("/")
        """Without the query, which may hold a key."""
        self._timeout = timeout
        # Compressed replies cost time and can grow to any size.
        self._headers = {"Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._headers |= headers or {}
        secrets = (api_key or "", *(headers or {}).values(), *self._address.query.replace("=", "&").split("&"))
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._proxy = proxy_for(self.base_url)
        self._opened: aiohttp.ClientSession | None = None

    async def models(self) -> list[str] | None:
        """The ids that it lists; None if the server answers but has no list.

        Raises:
            UpstreamFailed
        """
        with self._failing():
            async with self._call("GET", "/models", timeout=aiohttp.ClientTimeout(total=_LIST_SECONDS)) as reply:
                if reply.status in (404, 405, 501):
                    return None
                reply_body = await self._read(reply)
        # Together sends the list itself; Ollama's own shape has `models`, each with a `name`.
        listed = object_or_empty(reply_body)
        entries = reply_body if isinstance(reply_body, list) else listed.get("data", listed.get("models"))
        if not isinstance(entries, list):
            return None
        return list(dict.fromkeys(filter(None, map(_id_of, entries[:_MOST_MODELS]))))

    async def complete(self, body: Body, headers: Mapping[str, str] | None = None) -> Body:
        """The unstreamed answer to a chat-completions request, with at least one choice.

        Raises:
            UpstreamFailed
        """
        with self._failing():
            async with self._call("POST", "/chat/completions", body, headers) as reply:
                reply_body = await self._read(reply)
        raise_error_in(reply_body, blanked=self._blanked)
        return checked_completion(reply_body, self._blanked)

    @asynccontextmanager
    async def stream(self, body: Body, headers: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[Body]]:
        """The chunks of a streamed answer; one complete completion if the server sends that instead.

        The call ends with the context.

        Raises:
            UpstreamFailed: here, and while chunks are read: also when the answer breaks off.
        """
        async with AsyncExitStack() as call:
            with self._failing():
                reply = await call.enter_async_context(self._call("POST", "/chat/completions", body, headers))
                await self._accept(reply)
            # An error in the code that reads the chunks is not a failure of the server.
            yield self._chunks(reply.content)

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = new_session(
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS, sock_read=self._timeout),
            )
        return self._opened

    def _call(
        self, method: str, path: str, body: Body | None = None, headers: Mapping[str, str] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        url = urlunsplit(self._address._replace(path=self._address.path.rstrip("/") + path))
        if body is not None:
            options["data"] = body_to_send(json.dumps(body).encode())
            headers = {"Content-Type": "application/json", **(headers or {})}
        return self._session.request(method, url, headers=headers, proxy=self._proxy, allow_redirects=False, **options)

    async def _chunks(self, content: aiohttp.StreamReader) -> AsyncIterator[Body]:
        stream, reader = EventStream(content.iter_any()), ChunkReader(self._blanked)
        chunks = reader.chunks(stream.events())
        while True:
            # Not `_failing`, which costs as much as reading the event.
            try:
                chunk = await anext(chunks, None)
            except _FAILURES as error:
                raise self._failed(error) from None
            if chunk is None:
                break
            yield chunk
        if stream.done:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(_LAST_BYTES_SECONDS):
                    await content.read()
        reader.check_whole(done=stream.done, unreadable=stream.unreadable)

    async def _read(self, reply: aiohttp.ClientResponse) -> Any:
        await self._accept(reply)
        received = await _bounded(reply)
        try:
            reply_body = json.loads(received)
        except UnicodeDecodeError:
            reply_body = json.loads(received.decode("utf-8", "replace"))
        if b"\\ud" in received.lower():
            # Lone surrogates (halves of characters) cannot be sent on.
            text = json.dumps(reply_body, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            reply_body = json.loads(text.decode("utf-16-le", "replace"))
        return reply_body

    async def _accept(self, reply: aiohttp.ClientResponse) -> None:
        """Raises UpstreamFailed, with the server's own words, unless the status is a success."""
        status = reply.status
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            log.warning("%s redirects to %s", self.base_url, self._blanked(reply.headers.get("Location", "nowhere")))
            raise UpstreamFailed(
                "The model server redirects to another address, which is not followed: an admin must set "
                "upstream_base_urls to the address that the log names.",
                502,
            )
        if status in (401, 403):
            # The words of such a server may quote a part of the key.
            said = f"The model server refuses its key ({status}): an admin must set upstream_api_keys."
            raise UpstreamFailed(said, status)
        text = (await _bounded(reply)).decode(errors="replace")
        try:
            reply_body = json.loads(text)
        except (ValueError, RecursionError):
            reply_body = text
        raise UpstreamFailed(f"The model server answered {status}", status, server_words(reply_body, self._blanked))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turns every failure of the server in this block into an UpstreamFailed."""
        try:
            yield
        except _FAILURES as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> UpstreamFailed:
        if isinstance(error, TimeoutError):
            return UpstreamFailed(f"The model server did not answer within {self._timeout:g} s. Please try again.", 504)
        if isinstance(error, aiohttp.ClientError):
            return UpstreamFailed("The model server cannot be reached, or broke the connection. Please try again.", 502)
        if isinstance(error, StreamUnreadable):
            return UpstreamFailed(str(error), 502)
        return UpstreamFailed("The model server's answer cannot be read.", 502)

    def _blanked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _id_of(entry: Any) -> str | None:
    fields = object_or_empty(entry)
    names = (entry, fields.get("id"), fields.get("name"))
    found = next((name for name in names if isinstance(name, str)), "")
    return found if 0 < len(found) <= _LONGEST_ID and found.isprintable() else None


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    """All of a reply's body. Raises ValueError if it is too large."""
    parts, size = [], 0
    async for part in reply.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _MOST_REPLY_BYTES:
            raise ValueError("too large")
    return b"".join(parts)
