"""The server that a doctor looks at: raw replies, and in words why there is none."""

import json
from types import TracebackType
from typing import Any, NamedTuple, Self

import openai

from guard_server.doctor_problems import NoReply
from moderation.errors import EndpointError
from moderation.problems import root_cause, without_key
from moderation.replies import GuardCompletion, ListedModel, ModelListing, OddReply, read_reply
from moderation.transport import new_client


class Reply(NamedTuple):
    """Any HTTP reply, of whatever status."""

    status: int
    text: str
    location: str | None = None
    """Where a redirect leads, which is not followed."""
    key: str = ""
    """Not to be shown, where the reply quotes it."""

    @property
    def json(self) -> Any:
        """None where the body is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def field(self, name: str) -> Any:
        """A field of the object that came with status 200; None where there is no such thing."""
        return self.json.get(name) if self.status == 200 and isinstance(self.json, dict) else None

    @property
    def completion(self) -> GuardCompletion | None:
        """A chat completion; None where this is none."""
        try:
            return read_reply(self.text, GuardCompletion) if self.status == 200 else None
        except OddReply:
            return None

    @property
    def models(self) -> list[ListedModel] | None:
        """A list of models; None where this is none."""
        try:
            return read_reply(self.text, ModelListing).models if self.status == 200 else None
        except OddReply:
            return None

    @property
    def excerpt(self) -> str:
        """The beginning, on one line, for people."""
        return repr(" ".join(without_key(self.text, self.key)[:100].split()))


class Server:
    """One address, asked in the way of the `openai` SDK, which is the way of the filter."""

    def __init__(self, url: str, key: str | None, seconds: float) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self.seconds = seconds
        # One attempt: a doctor tells of the first failure, where a client would try again.
        self._client = new_client(self.url, key or "EMPTY", seconds, max_retries=0)

    @property
    def root(self) -> str:
        """Where vLLM's own routes stand, beside /v1."""
        return self.url.removesuffix("/v1")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    def without_key(self, text: str) -> str:
        """For people: some servers quote the key that they refuse."""
        return without_key(text, self.key or "")

    async def get(self, url: str, *, key: bool = True) -> Reply:
        """Raises NoReply; `key` says whether to send the key."""
        client = self._client if key else self._client.copy(api_key="EMPTY")
        return await self._reply(client.get(url, cast_to=str))

    async def post(self, url: str, body: dict[str, Any]) -> Reply:
        """Raises NoReply."""
        return await self._reply(self._client.post(url, cast_to=str, body=body))

    async def _reply(self, request: Any) -> Reply:
        try:
            return Reply(200, await request, key=self.key or "")
        except openai.APIStatusError as error:
            location = error.response.headers.get("location")
            return Reply(error.status_code, error.response.text, location, self.key or "")
        except openai.APITimeoutError:
            raise NoReply(
                f"no reply within {self.seconds:g} s",
                "See the guard's log: it may still be loading its model, be overloaded, or hang. A firewall that drops "
                "packets looks the same. --timeout waits longer.",
            ) from None
        except EndpointError as error:
            raise NoReply(str(error), "Check --url: this is no OpenAI-compatible API.") from None
        except openai.OpenAIError as error:
            raise NoReply(
                f"cannot be reached: {root_cause(error)}",
                "Is the guard running, and is this its address? Start one: python -m guard_server serve. From inside "
                "a container, localhost is the container: name the guard's host.",
            ) from None
