"""HTTP under the `openai` SDK by aiohttp, whose parser is compiled: a check costs a third of the processor time.

The SDK sends through httpx (1.x, 2.x) or httpx2 (3.x), and the host decides which SDK there is. So neither is imported
here: a transport is any object with the two methods that both libraries call, and its replies are of the library of the
request. The SDK's own aiohttp client needs packages that no host has, or a newer aiohttp.
"""

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import openai

from moderation.errors import EndpointRefused

# uvicorn, and so vLLM, closes an idle connection after five seconds. A server that can do nothing for a second or two
# closes it even if a request has come meanwhile.
_IDLE_SECONDS = 2
# The largest honest reply, 128 tokens with twenty candidates each, is a fifth of this.
_MOST_BYTES = 2 * 2**20
_LARGE_BYTES = 2**19
# What aiohttp can decompress in every host. It does so in pieces, so the bound applies to decompressed bytes.
ENCODINGS = "gzip, deflate"
# Already decoded; and cookies, which the SDK's client would store and send with the turns of all users.
_NOT_HANDED_ON = (b"content-encoding", b"set-cookie")


def new_session(**options: Any) -> aiohttp.ClientSession:
    """A session for the loop in which it is made, with `aiohttp.ClientSession`'s options."""
    # The number of concurrent requests is limited elsewhere. Cookies must not be shared between users.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **options)


def proxy_for(url: str) -> str | None:
    """The proxy in the environment. aiohttp itself would read the environment and a file at every request."""
    address = urlsplit(url)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)


def body_to_send(content: bytes) -> bytes | io.BytesIO | None:
    """The body of a request, for aiohttp; a large one in pieces, so that other requests can be served in between."""
    return io.BytesIO(content) if len(content) > _LARGE_BYTES else content or None


class WireReply(NamedTuple):
    """A reply that was read to its end."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes
    patience: float
    """Seconds to wait before another try, as far as the server wants any."""


Outcome = WireReply | Exception
# What became of the SDK's next request in this task, if that was sent already.
_outcome: ContextVar[Outcome | None] = ContextVar("outcome", default=None)


class AiohttpTransport:
    """Sends requests and reads each reply to its end. To be used from one event loop.

    Args:
        url: of the server; the environment may name a proxy for it.
    """

    def __init__(self, url: str) -> None:
        self._proxy = proxy_for(url)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: Any) -> Any:
        """The reply to an `httpx.Request` or `httpx2.Request`, as a `Response` of the same library.

        Raises that library's `ReadTimeout` and `ConnectError`, and EndpointRefused for a reply that is too large.
        """
        library = sys.modules[type(request).__module__.partition(".")[0]]
        limits = request.extensions["timeout"]
        known = _outcome.get()
        _outcome.set(None)
        if known is None:
            request.headers["accept-encoding"] = ENCODINGS
            known = await self.outcome(
                request.method, str(request.url), request.headers, request.content, limits["connect"], limits["read"]
            )
        if isinstance(known, EndpointRefused):
            raise known
        if isinstance(known, TimeoutError):
            raise library.ReadTimeout(str(known), request=request) from known
        if isinstance(known, Exception):
            raise library.ConnectError(str(known), request=request) from known
        headers = [(name, value) for name, value in known.headers if name.lower() not in _NOT_HANDED_ON]
        if known.patience > limits["read"]:
            # The SDK would wait for as long as the server says, which is longer than any deadline.
            headers.append((b"x-should-retry", b"false"))
        return library.Response(known.status, headers=headers, content=known.content, request=request)

    async def outcome(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, connect: float, read: float
    ) -> Outcome:
        """What becomes of one request: the reply; or the error, if it is one of the network or of the server.

        Args:
            method: of HTTP.
            url: the address.
            headers: of the request.
            content: of the request; may be empty.
            connect: seconds that a connection may take.
            read: seconds of silence after which the server has failed.
        """
        if self._session is None:
            self._session = new_session()
        timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=body_to_send(content),
                allow_redirects=False,
                timeout=timeout,
                proxy=self._proxy,
            ) as reply:
                return WireReply(reply.status, reply.raw_headers, await _read_all(reply), _patience(reply))
        # A ValueError: the address is not valid, or a header cannot be sent.
        except (TimeoutError, aiohttp.ClientError, ValueError, EndpointRefused) as error:
            return error

    async def aclose(self) -> None:
        """Close the idle connections."""
        if self._session is not None:
            await self._session.close()


def new_client(
    base_url: str, api_key: str, timeout: float, *, transport: AiohttpTransport | None = None, **options: Any
) -> openai.AsyncOpenAI:
    """A client of one guard's server, which follows no redirect: that would take key and texts to another address."""
    # The types of each version require their own library's base class, which has only these two methods.
    sends_through: Any = transport or AiohttpTransport(base_url)
    http_client = openai.DefaultAsyncHttpxClient(transport=sends_through, follow_redirects=False)
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=timeout, http_client=http_client, **options)


@contextmanager
def already_sent(outcome: Outcome) -> Iterator[None]:
    """Let the SDK's next request in this task have this outcome instead of sending it."""
    before = _outcome.set(outcome)
    try:
        yield
    finally:
        _outcome.reset(before)


async def _read_all(reply: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for part in reply.content.iter_any():
        content += part
        if len(content) > _MOST_BYTES:
            raise EndpointRefused(f"{reply.url.with_query(None)} sent more than {_MOST_BYTES} bytes, which is no reply")
    return bytes(content)


def _patience(reply: aiohttp.ClientResponse) -> float:
    """Seconds to wait before another try, as far as the server wants any."""
    with suppress(ValueError):
        return float(reply.headers.get("retry-after", 0))
    return 0
