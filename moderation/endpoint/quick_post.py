"""A request whose first attempt is made below the `openai` SDK, which takes two thirds of a check's processor time.

What is not simply a reply is handed to the SDK as what became of its own first attempt, so that errors, retries and
waits are the SDK's as ever.
"""

import json
from typing import Any

import openai

from moderation.endpoint.transport import ENCODINGS, AiohttpTransport, WireReply, already_sent
from moderation.errors import EndpointDown


class QuickPost:
    """Posts JSON and returns text.

    Args:
        client: the SDK's client of the server.
        transport: what the client sends through.
        timeout: the client's, in seconds.
    """

    def __init__(self, client: openai.AsyncOpenAI, transport: AiohttpTransport, timeout: float) -> None:
        self._client = client
        self._transport = transport
        self._timeout = timeout
        self._base_url = str(client.base_url).rstrip("/")
        self._headers = {
            "accept": "application/json",
            "accept-encoding": ENCODINGS,
            "authorization": f"Bearer {client.api_key}",
            "content-type": "application/json",
        }

    async def __call__(self, path: str, body: dict[str, Any]) -> str:
        """The body of the reply. Raises as the SDK's client does, and EndpointDown if that was closed meanwhile."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        outcome = await self._transport.outcome(
            "POST", self._base_url + path, self._headers, content, self._timeout, self._timeout
        )
        if isinstance(outcome, WireReply) and outcome.status == 200:
            return outcome.content.decode("utf-8", "replace")
        if self._client.is_closed():
            raise EndpointDown("the connection to the guard was closed while it was asked")
        with already_sent(outcome):
            return await self._client.post(path, cast_to=str, body=body)
