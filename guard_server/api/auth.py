"""The key that clients must send."""

import hmac
from collections.abc import Collection
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from guard_server.api.error_reply import WrongKey
from guard_server.api.http_exchange import error_response


class BearerAuth:
    """ASGI middleware that accepts only requests with the right key.

    Args:
        app: answers those.
        key: as a bearer token, or in the header `X-API-Key`: LiteLLM sends the key of a guardrail there.
        open_paths: answered without a key.
    """

    def __init__(self, app: ASGIApp, key: str, open_paths: Collection[str] = ()) -> None:
        self._app = app
        self._open_paths = open_paths
        self._digest = sha256(key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths and not self._admits(Headers(scope=scope)):
            error = WrongKey("the key is missing or wrong: send it as Authorization: Bearer …")
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admits(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = [key.strip()] if scheme.lower() == "bearer" else []
        given += headers.getlist("x-api-key")
        # Digests have a fixed length, so that timing does not reveal even the length of the key.
        return any(hmac.compare_digest(sha256(one.encode()).digest(), self._digest) for one in given)
