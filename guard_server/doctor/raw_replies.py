"""The server that `doctor` examines: its raw replies, or the reason why there is no reply, in words."""

import json
from types import TracebackType
from typing import Any, NamedTuple, Self

import openai

from guard_server.doctor.findings import NoReply
from moderation.endpoint.problems import root_cause, without_key
from moderation.endpoint.replies import GuardCompletion, ListedModel, ModelListing, OddReply, read_reply
from moderation.endpoint.transport import new_client
from moderation.errors import EndpointError


class RawReply(NamedTuple):
    """An HTTP reply of any status."""

    status: int
    text: str
    location: str | None = None
    """The target of a redirect. Redirects are not followed."""
    key: str = ""
    """The API key: removed from `excerpt` if the reply quotes it."""

    @property
    def json(self) -> Any:
        """The body; None if it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def field(self, name: str) -> Any:
        """A field of the JSON object in a reply with status 200; None if there is none."""
        return self.json.get(name) if self.status == 200 and isinstance(self.json, dict) else None

    @property
    def completion(self) -> GuardCompletion | None:
        """The reply as a chat completion; None if it is not one."""
        try:
            return read_reply(self.text, GuardCompletion) if self.status == 200 else None
        except OddReply:
            return None

    @property
    def models(self) -> list[ListedModel] | None:
        """The reply as a list of models; None if it is not one."""
        try:
            return read_reply(self.text, ModelListing).models if self.status == 200 else None
        except OddReply:
            return None

    @property
    def excerpt(self) -> str:
        """The beginning of the reply on one line, for messages."""
        return repr(" ".join(without_key(self.text, self.key)[:100].split()))


class RawServer:
    """One address, asked through the `openai` SDK, as the filter does."""

    def __init__(self, url: str, key: str | None, seconds: float) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self.seconds = seconds
        # No retries: `doctor` reports the first failure.
        self._client = new_client(self.url, key or "EMPTY", seconds, max_retries=0)

    @property
    def root(self) -> str:
        """The address of vLLM's own routes, which are next to /v1."""
        return self.url.removesuffix("/v1")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    def without_key(self, text: str) -> str:
        """`text` without the API key, for messages: some servers quote the key that they refuse."""
        return without_key(text, self.key or "")

    async def get(self, url: str, *, key: bool = True) -> RawReply:
        """Raises NoReply; `key` says whether to send the key."""
        client = self._client if key else self._client.copy(api_key="EMPTY")
        return await self._reply(client.get(url, cast_to=str))

    async def post(self, url: str, body: dict[str, Any]) -> RawReply:
        """Raises NoReply."""
        return await self._reply(self._client.post(url, cast_to=str, body=body))

    async def _reply(self, request: Any) -> RawReply:
        try:
            return RawReply(200, await request, key=self.key or "")
        except openai.APIStatusError as error:
            location = error.response.headers.get("location")
            return RawReply(error.status_code, error.response.text, location, self.key or "")
        except openai.APITimeoutError:
            raise NoReply(
                f"no reply within {self.seconds:g} s",
                "See the guard's log: it may still be loading its model, be overloaded, or hang. A firewall that drops "
                "packets looks the same. --timeout waits longer.",
            ) from None
        except EndpointError as error:
            raise NoReply(str(error), "Check --guard-url: this is no OpenAI-compatible API.") from None
        except openai.OpenAIError as error:
            raise NoReply(
                f"cannot be reached: {root_cause(error)}",
                "Is the guard running, and is this its address? Start one: qwen3guard serve. From inside "
                "a container, localhost is the container: name the guard's host.",
            ) from None
