"""HTTP under the `openai` SDK by aiohttp, whose parser is compiled: a check costs a third of the processor time.

The SDK sends through httpx (1.x, 2.x) or httpx2 (3.x), and the host decides which SDK there is. So neither is imported
here: a transport is any object with the two methods that both libraries call, and its replies are of the library of the
request. The SDK's own aiohttp client needs packages that no host has, or a newer aiohttp.
"""

import sys
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import openai

from moderation.errors import EndpointRefused

# Shorter than the five seconds after which uvicorn, and so vLLM, closes an idle connection.
_IDLE_SECONDS = 4
# The largest honest reply, 128 tokens with twenty candidates each, is a fifth of this.
_MOST_BYTES = 2 * 2**20
# What aiohttp can decompress in every host. It does so in pieces, so the bound applies to decompressed bytes.
_ENCODINGS = "gzip, deflate"
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


def new_client(base_url: str, api_key: str, timeout: float, **options: Any) -> openai.AsyncOpenAI:
    """A client of one guard's server, which follows no redirect: that would take key and texts to another address."""
    # The types of each version require their own library's base class, which has only these two methods.
    transport: Any = AiohttpTransport(base_url)
    http_client = openai.DefaultAsyncHttpxClient(transport=transport, follow_redirects=False)
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=timeout, http_client=http_client, **options)


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
        if self._session is None:
            self._session = new_session()
        limits = request.extensions["timeout"]
        timeout = aiohttp.ClientTimeout(total=None, connect=limits["connect"], sock_read=limits["read"])
        request.headers["accept-encoding"] = _ENCODINGS
        try:
            async with self._session.request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=request.content or None,
                allow_redirects=False,
                timeout=timeout,
                proxy=self._proxy,
            ) as reply:
                content = await _read_all(reply)
        except TimeoutError as error:
            raise library.ReadTimeout(str(error), request=request) from error
        # A ValueError: the address is not valid, or a header cannot be sent.
        except (aiohttp.ClientError, ValueError) as error:
            raise library.ConnectError(str(error), request=request) from error
        headers = [(name, value) for name, value in reply.raw_headers if name.lower() not in _NOT_HANDED_ON]
        if _patience(reply) > limits["read"]:
            # The SDK would wait for as long as the server says, which is longer than any deadline.
            headers.append((b"x-should-retry", b"false"))
        return library.Response(reply.status, headers=headers, content=content, request=request)

    async def aclose(self) -> None:
        """Close the idle connections."""
        if self._session is not None:
            await self._session.close()


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
