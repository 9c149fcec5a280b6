"""Clients without idle connections, which uvicorn ends after five seconds, perhaps just as they are used again.

A header `Connection: close` is no way around it: then a server that reads no body may reset the connection.
"""

import httpx
import httpx2
import openai

from tests.stands.waiting import PATIENCE

NO_IDLE = httpx.Limits(max_keepalive_connections=0)


def openai_client(url: str, key: str) -> openai.OpenAI:
    """The SDK's client, which asks once."""
    # The library of the SDK, in the version of these environments.
    limits = httpx2.Limits(max_keepalive_connections=0)
    http = openai.DefaultHttpxClient(timeout=PATIENCE, limits=limits)
    return openai.OpenAI(base_url=url, api_key=key, http_client=http, max_retries=0)
