"""The key that clients must send."""

import hmac
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from guard_server.api.error_reply import WrongKey
from guard_server.api.http_exchange import error_response


class BearerAuth:
    """ASGI middleware that accepts only requests with the right bearer token."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._digest = sha256(key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._admits(Headers(scope=scope).get("authorization", "")):
            error = WrongKey("the key is missing or wrong: send it as Authorization: Bearer …")
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admits(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        # Digests have a fixed length, so that timing does not reveal even the length of the key.
        given = sha256(key.strip().encode()).digest()
        return hmac.compare_digest(given, self._digest) and scheme.lower() == "bearer"
