"""HTTP under the `openai` SDK by aiohttp, whose parser is compiled: a check costs a third of the processor time.

The SDK's own way to aiohttp needs a newer one than the Pipelines server's image has.
"""

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai

from moderation.errors import EndpointRefused

# Shorter than the five seconds after which uvicorn, and so vLLM, closes an idle connection.
_IDLE_SECONDS = 4
# The largest honest reply, 128 tokens with twenty candidates each, is a fifth of this.
_MOST_BYTES = 2 * 2**20
# What aiohttp can undo everywhere. It does so piece by piece, so that the bound is one of what comes out.
_ENCODINGS = "gzip, deflate"


def new_session(**options: Any) -> aiohttp.ClientSession:
    """A session for the loop in which it is made, with `aiohttp.ClientSession`'s options."""
    # How many requests there are at a time is for others to say, and one user's cookies are no other's.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **options)


def proxy_for(url: str) -> str | None:
    """As the environment has it. aiohttp itself would look there, and into a file, at every request."""
    address = urlsplit(url)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)


def new_client(base_url: str, api_key: str, timeout: float, **options: Any) -> openai.AsyncOpenAI:
    """A client of one guard's server, which follows no redirect: that would take key and texts to another address."""
    http_client = openai.DefaultAsyncHttpxClient(transport=AiohttpTransport(base_url), follow_redirects=False)
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=timeout, http_client=http_client, **options)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests and reads each reply to its end. To be used from one event loop.

    Args:
        url: of the server, which the environment may have a proxy for.
    """

    def __init__(self, url: str) -> None:
        self._proxy = proxy_for(url)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises httpx2.TransportError, as every transport, and EndpointRefused for a reply that is too large."""
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
            raise httpx2.ReadTimeout(str(error), request=request) from error
        # A ValueError is an address that cannot be asked, or a header that cannot be sent.
        except (aiohttp.ClientError, ValueError) as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        headers = [(name, value) for name, value in reply.raw_headers if name.lower() != b"content-encoding"]
        if _patience(reply) > limits["read"]:
            # The SDK would wait as long as it is told to, which is beyond anybody's deadline.
            headers.append((b"x-should-retry", b"false"))
        return httpx2.Response(reply.status, headers=headers, content=content, request=request)

    async def aclose(self) -> None:
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
