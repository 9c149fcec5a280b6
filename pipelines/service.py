"""All that one set of the guarded models' valves makes, and the requests that it serves."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import Field
from starlette.exceptions import HTTPException

from moderation.audit import AuditRecord
from pipelines.answer import Answer
from pipelines.chunks import end_chunk, error_chunk
from pipelines.exchange import Exchange, Terms
from pipelines.host import Host
from pipelines.log import log
from pipelines.loop import BackgroundLoop
from pipelines.mark import take_mark
from pipelines.moderator import ModerationValves, Moderator
from pipelines.reply import REPLY_KEY
from pipelines.streamed import Streamed
from pipelines.unstreamed import Unstreamed
from pipelines.upstream import Upstream, UpstreamFailed
from pipelines.upstreams import Upstreams
from pipelines.valves import NOTHING, Addresses, HeaderSets, Text, chosen, parse_header_sets, words
from pipelines.webui import Body, messages_of

Served = TypeVar("Served")
_CHUNK = {"object": "chat.completion.chunk"}
# An upstream that did not answer is asked for its models again this soon.
_RETRY_SECONDS = 5


class ModelsValves(ModerationValves):
    """The settings that only the guarded models have."""

    upstream_base_urls: Addresses = Field(
        "http://localhost:11434/v1", description="OpenAI-compatible addresses of the models, comma-separated"
    )
    upstream_api_keys: Text = Field(NOTHING, description="Their keys, in the same order; none for no key")
    upstream_headers: HeaderSets = Field(
        NOTHING, description='Further headers for each, as JSON, such as {"api-key": "…"}, or a list of such'
    )
    upstream_user_headers: bool = Field(
        False, description="Tell those servers who asks, as Open WebUI does (X-OpenWebUI-User-…)"
    )
    upstream_timeout_seconds: float = Field(300, gt=0, description="Longest silence of a model")
    models: Text = Field("*", description="Models to offer, such as llama*, qwen*")
    model_names: Text = Field("{model} (guarded)", description="What users read; {model} is the model's own name")
    refresh_seconds: float = Field(60, ge=1, description="How often the lists of models are asked for")
    prompt_check: Literal["parallel", "before"] = Field(
        "parallel", description="before: the model gets nothing that was not judged, one check later"
    )
    stream_mode: Literal["hold", "retract"] = Field(
        "hold", description="retract shows text at once and takes it back when it is refused"
    )
    webui_url: Text = Field(NOTHING, description="Open WebUI's address, to ask for its version; none is taken for 0.12")
    system_prompts: Literal["judge", "trust"] = Field("judge", description="System texts that no admin wrote")
    threads: int = Field(200, ge=40, le=2000, description="Streams at a time in one Pipelines server")
    refusal_entry: bool = Field(False, description="Offer the model that delivers the filter's notices")


class Service:
    """Serves requests under one set of valves. Its work is done on a background loop.

    Args:
        valves: the settings.
        home: the plugin's folder beside its file.
        loop: may be shared with other services.
    """

    def __init__(self, valves: ModelsValves, home: Path, loop: BackgroundLoop) -> None:
        self.valves = valves
        self.moderator = Moderator(valves, home)
        self._loop = loop
        urls = words(valves.upstream_base_urls)
        keys = [chosen(key.strip()) for key in valves.upstream_api_keys.split(",")][: len(urls)]
        headers = parse_header_sets(valves.upstream_headers)[: len(urls)]
        upstreams = [
            Upstream(url, key, valves.upstream_timeout_seconds, more)
            for url, key, more in zip_longest(urls, keys, headers)
        ]
        self._upstreams = Upstreams(upstreams, words(valves.models), valves.model_names)
        self._host = Host(chosen(valves.webui_url))
        self._exempt_roles = [name.lower() for name in words(valves.exempt_roles)]
        self._open: set[asyncio.Task[Any]] = set()
        self._listed = asyncio.Event()
        self._refreshing = loop.submit(self._refresh())

    @property
    def entries(self) -> list[dict[str, str]]:
        """`id` and `name` of each model, from memory."""
        return self._upstreams.entries

    async def listed(self) -> None:
        """Returns when every upstream was asked for its models once. For any loop."""
        await self._loop.run(self._listed.wait())

    def stream(self, entry_id: str, body: Body) -> Answer:
        """The answer that is being written. For any thread; never raises."""
        answer = Answer({**_CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": None}]})
        try:
            if body.get("n") not in (None, 1):
                raise UpstreamFailed("Guarded models stream one choice at a time: leave n out.", 400)
            self._loop.submit(self._serve(Streamed(self._exchange(entry_id, body), answer).write()))
        except UpstreamFailed as failed:
            answer.write(error_chunk(str(failed), failed.status))
            answer.write(end_chunk(_CHUNK, "error"))
            answer.end()
        return answer

    def complete(self, entry_id: str, body: Body) -> Body:
        """The whole answer. For any thread but the loop's own.

        Raises:
            HTTPException: with the upstream's status and words.
        """
        try:
            return self._loop.submit(self._serve(Unstreamed(self._exchange(entry_id, body)).make())).result()
        except UpstreamFailed as failed:
            raise HTTPException(failed.status, str(failed)) from None
        except CancelledError:
            raise HTTPException(503, "The server is being stopped. Please try again.") from None

    async def aclose(self, *, at_once: bool) -> None:
        """End what is served, now or when it is answered, and close all connections. In the background loop."""
        self._refreshing.cancel()
        for task in self._open if at_once else ():
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.gather(self._upstreams.aclose(), self.moderator.aclose())

    async def _refresh(self) -> None:
        while True:
            all_answered = False
            try:
                all_answered, _ = await asyncio.gather(self._upstreams.refresh(), self._host.learn())
            except Exception:
                # Whatever a server lists, it is asked again.
                log.exception("the models could not be listed")
            self._listed.set()
            await asyncio.sleep(self.valves.refresh_seconds if all_answered else _RETRY_SECONDS)

    async def _serve(self, work: Coroutine[Any, Any, Served]) -> Served:
        task = asyncio.create_task(work)
        self._open.add(task)
        try:
            return await task
        finally:
            self._open.discard(task)

    def _exchange(self, entry_id: str, body: Body) -> Exchange:
        found = self._upstreams.resolve(entry_id)
        if found is None:
            raise UpstreamFailed(f"There is no guarded model {entry_id!r}.", 404)
        upstream, model = found
        request = {key: value for key, value in body.items() if key not in ("user", REPLY_KEY)}
        user = body.get("user")
        asking: dict[str, Any] = user if isinstance(user, dict) else {"id": user}
        user_id = str(asking.get("id") or "")
        mark = take_mark(request, user_id)
        messages = messages_of(request)
        del request["messages"]
        head = AuditRecord(user=user_id or None, model=model, chat=mark.chat, message=mark.message)
        terms = Terms(
            parallel=self.valves.prompt_check == "parallel",
            # What nobody can take back is not shown before it was judged.
            hold=self.valves.stream_mode == "hold" or not (self._host.retracts and mark.on_page),
            retracts=self._host.retracts,
            exempt=str(asking.get("role") or "").lower() in self._exempt_roles,
            pictures=self.valves.images == "allow",
        )
        headers = user_headers(asking) if self.valves.upstream_user_headers else {}
        return Exchange(self.moderator, upstream, {**request, "model": model}, messages, mark, head, terms, headers)


def user_headers(user: dict[str, Any]) -> dict[str, str]:
    """Who asks, as Open WebUI tells the servers of direct connections (its utils/headers.py)."""
    told = {key: str(user.get(key.lower()) or "").strip() for key in ("Name", "Id", "Email", "Role")}
    # A header has ASCII characters only; Open WebUI writes names so.
    return {f"X-OpenWebUI-User-{key}": quote(value, safe=" @+") for key, value in told.items() if value}
