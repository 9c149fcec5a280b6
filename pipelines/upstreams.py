"""The servers whose models are guarded, and the names that their models have here."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any

import openai

from pipelines.log import log
from pipelines.model_ids import decoded, encoded
from pipelines.webui import Body

# Connecting is quick or fails; what takes time is the answer.
_CONNECT_SECONDS = 10
_LIST_SECONDS = 10


class UpstreamFailed(Exception):
    """No answer from an upstream. The text is meant for users and holds no key."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """The upstream's own HTTP status; 502 where it gave none, 504 where it did not answer in time."""


class Upstream:
    """One OpenAI-compatible server.

    Args:
        base_url: ends where `/chat/completions` is added.
        api_key: sent as a bearer; None for a server that wants none.
        timeout: seconds of silence after which it has failed.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        self.base_url = base_url
        self._key = api_key
        self._timeout = timeout
        # Open WebUI's users repeat a failed request themselves, and are told at once.
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            timeout=openai.Timeout(timeout, connect=_CONNECT_SECONDS),
        )

    async def models(self) -> list[str]:
        """The ids that it lists.

        Raises:
            UpstreamFailed
        """
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                return [model.id for model in (await self._client.models.list()).data]
        except (openai.OpenAIError, TimeoutError, ValueError) as error:
            raise self._failed(error) from None

    async def complete(self, body: Body) -> Body:
        """The unstreamed answer to a chat-completions request, untouched.

        Raises:
            UpstreamFailed
        """
        try:
            reply = await self._client.post("/chat/completions", cast_to=object, body=body)
        except (openai.OpenAIError, ValueError) as error:
            raise self._failed(error) from None
        if not isinstance(reply, dict):
            raise UpstreamFailed("The model server's answer is no chat completion.", 502)
        return reply

    @asynccontextmanager
    async def stream(self, body: Body) -> AsyncIterator[AsyncIterator[Body]]:
        """The chunks of a streamed answer, untouched. The call ends with the context.

        Raises:
            UpstreamFailed
        """
        try:
            async with await self._client.post(
                "/chat/completions", cast_to=object, body=body, stream=True, stream_cls=openai.AsyncStream[Any]
            ) as stream:
                yield (chunk async for chunk in stream if isinstance(chunk, dict))
        except (openai.OpenAIError, ValueError) as error:
            raise self._failed(error) from None

    async def aclose(self) -> None:
        await self._client.close()

    def _failed(self, error: Exception) -> UpstreamFailed:
        if isinstance(error, openai.APIStatusError):
            if error.status_code in (401, 403):
                # Such a server's own words may quote a part of the key.
                return UpstreamFailed(
                    f"The model server refuses its key ({error.status_code}): an admin must set upstream_api_keys.",
                    error.status_code,
                )
            return UpstreamFailed(
                f"The model server answered {error.status_code}: {self._words(error)}", error.status_code
            )
        if isinstance(error, openai.APITimeoutError | TimeoutError):
            return UpstreamFailed(f"The model server did not answer within {self._timeout:g} s. Please try again.", 504)
        if isinstance(error, openai.APIConnectionError):
            return UpstreamFailed("The model server cannot be reached, or broke the connection. Please try again.", 502)
        if isinstance(error, openai.APIError):
            return UpstreamFailed(f"The model server failed: {self._words(error)}", 502)
        return UpstreamFailed("The model server's answer cannot be read.", 502)

    def _words(self, error: Exception) -> str:
        body = getattr(error, "body", None)
        message = body.get("message") if isinstance(body, dict) else None
        text = str(message or error)
        return (text.replace(self._key, "***") if self._key else text)[:300]


class Upstreams:
    """All upstreams and the models that they list.

    Args:
        upstreams: in the order in which the admin named them, on which ids depend.
        wanted: patterns of the model ids to offer, such as `llama*`.
        naming: what users read; `{model}` stands for the model's id.
    """

    def __init__(self, upstreams: Sequence[Upstream], wanted: Sequence[str], naming: str) -> None:
        self._upstreams = list(upstreams)
        self._wanted = wanted
        self._naming = naming
        self._listed: list[list[str]] = [[] for _ in upstreams]
        self.entries: list[dict[str, str]] = []
        """`id` and `name` of each guarded model, as last listed; an upstream that is down keeps its models."""

    def resolve(self, entry_id: str) -> tuple[Upstream, str] | None:
        """The upstream and its own name of a model, whether it was listed or not; None for an id that is not ours."""
        model, number = decoded(entry_id)
        if not 1 <= number <= len(self._upstreams) or not self._offers(model):
            return None
        return self._upstreams[number - 1], model

    async def refresh(self) -> bool:
        """Ask all upstreams once; whether all of them answered."""
        done = await asyncio.gather(*map(self._list, range(len(self._upstreams))))
        self.entries = [
            {
                "id": encoded(model, place),
                "name": self._naming.replace("{model}", model),
            }
            for place, models in enumerate(self._listed, 1)
            for model in models
            if self._offers(model)
        ]
        return all(done)

    async def aclose(self) -> None:
        await asyncio.gather(*(upstream.aclose() for upstream in self._upstreams))

    async def _list(self, place: int) -> bool:
        try:
            self._listed[place] = await self._upstreams[place].models()
        except UpstreamFailed as error:
            log.warning("%s lists no models: %s", self._upstreams[place].base_url, error)
            return False
        return True

    def _offers(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self._wanted)
