"""All that one set of the guarded models' valves makes, and the requests that it serves."""

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import Field
from starlette.exceptions import HTTPException

from moderation.verdict import Verdict
from pipelines.lifecycle.answer import Answer, AnswerWriter
from pipelines.lifecycle.later_reply import LaterReply
from pipelines.lifecycle.loop import BackgroundLoop
from pipelines.lifecycle.places import NoPlace, Place, Places
from pipelines.lifecycle.server_threads import ServerThreads, in_server_thread
from pipelines.marks.trust_mark import split_system, take_mark
from pipelines.upstreams.http_upstream import HttpUpstream
from pipelines.upstreams.listing import Upstreams
from pipelines.upstreams.model_ids import decoded
from pipelines.upstreams.webui_version import RemoteWebui
from webui.bodies import Body
from webui.chat_completions import chunk, delta_choice, end_chunk, error_chunk
from webui.guarded.guarded_request import GuardedRequest, Terms
from webui.guarded.streamed import Streamed
from webui.guarded.unstreamed import Unstreamed
from webui.guarded.upstream import UpstreamFailed
from webui.log import log
from webui.moderator import ModerationValves, Moderator
from webui.request_context import RequestContext
from webui.settings import NOTHING, Addresses, HeaderSets, Text, chosen, parse_header_sets, words

Served = TypeVar("Served")
_CHUNK = {"object": "chat.completion.chunk"}
# An upstream that did not answer is asked for its models again this soon.
_RETRY_SECONDS = 5
# Answers that hold no thread hold memory and connections.
_MOST_UNSTREAMED = 1000


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
    webui_url: Text = Field(NOTHING, description="Open WebUI's address, to ask for its version; none means 0.12")
    system_prompts: Literal["judge", "trust"] = Field("judge", description="System texts that no admin wrote")
    threads: int = Field(200, ge=40, le=2000, description="Streams at a time in one Pipelines server")
    refusal_entry: bool = Field(False, description="Offer the model that delivers the filter's notices")


class Capacity:
    """What the Pipelines server can do at a time, for all services in it."""

    def __init__(self) -> None:
        self.threads = ServerThreads()
        self.streamed = Places(0)
        self.unstreamed = Places(_MOST_UNSTREAMED)


class Service:
    """Serves requests under one set of valves. Its work is done on a background loop.

    Args:
        valves: the settings.
        home: the plugin's own folder.
        loop: may be shared with other services.
        capacity: is shared with other services.
    """

    def __init__(self, valves: ModelsValves, home: Path, loop: BackgroundLoop, capacity: Capacity) -> None:
        self.valves = valves
        self._capacity = capacity
        capacity.streamed.limit = valves.threads
        self.moderator = Moderator(valves, home)
        self._loop = loop
        urls = words(valves.upstream_base_urls)
        keys = [chosen(key.strip()) for key in valves.upstream_api_keys.split(",")][: len(urls)]
        headers = parse_header_sets(valves.upstream_headers)[: len(urls)]
        upstreams = [
            HttpUpstream(url, key, valves.upstream_timeout_seconds, more)
            for url, key, more in zip_longest(urls, keys, headers)
        ]
        self._upstreams = Upstreams(upstreams, words(valves.models), valves.model_names)
        self._webui = RemoteWebui(chosen(valves.webui_url))
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
        writer = AnswerWriter(self._capacity.threads.all_busy)
        try:
            with self._placed(self._capacity.streamed, entry_id, body) as place:
                # A reader that is gone holds no place, also while the work for it ends.
                writer.dropped.add_done_callback(lambda _: place.give_back())
                streamed = Streamed(self._guarded_request(entry_id, body), writer)
                self._loop.submit(self._serve(streamed.write(), place))
        except (UpstreamFailed, NoPlace) as failed:
            writer.write(error_chunk(str(failed), failed.status))
            writer.write(end_chunk(_CHUNK, "error"))
            writer.end()
        return Answer(writer, chunk(_CHUNK, delta_choice({})))

    def complete(self, entry_id: str, body: Body) -> Body:
        """The whole answer. For any thread but the loop's own; one of the Pipelines server's does not wait for it.

        Raises:
            HTTPException: with the upstream's status and words, or because the server is busy.
        """
        try:
            with self._placed(self._capacity.unstreamed, entry_id, body) as place:
                reply = self._loop.submit(self._serve(Unstreamed(self._guarded_request(entry_id, body)).make(), place))
        except (UpstreamFailed, NoPlace) as failed:
            raise HTTPException(failed.status, str(failed)) from None
        return LaterReply(reply, _whole) if in_server_thread() else _whole(reply)

    async def aclose(self, *, at_once: bool) -> None:
        """End what is served, now or when it is answered, and close all connections. In the background loop."""
        self._refreshing.cancel()
        for task in self._open if at_once else ():
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.gather(self._upstreams.aclose(), self.moderator.aclose())

    async def _refresh(self) -> None:
        self.moderator.check_guard()
        while True:
            all_answered = False
            try:
                all_answered, _ = await asyncio.gather(self._upstreams.refresh(), self._webui.learn())
            except Exception:
                # Whatever a server lists, it is asked again.
                log.exception("the models could not be listed")
            self._listed.set()
            await asyncio.sleep(self.valves.refresh_seconds if all_answered else _RETRY_SECONDS)

    async def _serve(self, work: Coroutine[Any, Any, Served], place: Place) -> Served:
        task = asyncio.create_task(work)
        self._open.add(task)
        try:
            return await task
        finally:
            self._open.discard(task)
            place.give_back()

    @contextmanager
    def _placed(self, places: Places, entry_id: str, body: Body) -> Iterator[Place]:
        """A place for an answer, given back where its making does not even begin.

        Raises:
            NoPlace: which is in the audit.
        """
        user = user_of(body).get("id") or ""
        try:
            place = places.take(str(user))
        except NoPlace as refused:
            context = RequestContext(user=str(user), model=decoded(entry_id)[0])
            self.moderator.audit.record(context.head("prompt"), verdict=Verdict.none(refused.cause))
            raise
        try:
            yield place
        except BaseException:
            place.give_back()
            raise

    def _guarded_request(self, entry_id: str, body: Body) -> GuardedRequest:
        found = self._upstreams.resolve(entry_id)
        if found is None:
            raise UpstreamFailed(f"There is no guarded model {entry_id!r}.", 404)
        upstream, model = found
        request = {**body, "model": model}
        request.pop("user", None)
        user = user_of(body)
        user_id = str(user.get("id") or "")
        mark = take_mark(request, user_id)
        context = RequestContext(
            user=user_id,
            role=str(user.get("role") or ""),
            model=model,
            chat=mark.chat,
            message=mark.message,
            task=mark.task,
            quoted=mark.quoted,
            language=mark.language,
            split_system=partial(split_system, mark=mark),
        )
        terms = Terms(
            parallel=self.valves.prompt_check == "parallel",
            # What nobody can take back is not shown before it was judged.
            hold=self.valves.stream_mode == "hold" or not (self._webui.retracts and mark.on_page),
            retracts=self._webui.retracts,
            headers=user_headers(user) if self.valves.upstream_user_headers else {},
        )
        return GuardedRequest(self.moderator, upstream, request, context, terms)


def user_of(body: Body) -> dict[str, Any]:
    """Who asks: Open WebUI sends a user object, a program an id at most."""
    user = body.get("user")
    return user if isinstance(user, dict) else {"id": user}


def _whole(reply: Future[Body]) -> Body:
    try:
        return reply.result()
    except UpstreamFailed as failed:
        raise HTTPException(failed.status, str(failed)) from None
    except CancelledError:
        raise HTTPException(503, "The server is being stopped. Please try again.") from None


def user_headers(user: dict[str, Any]) -> dict[str, str]:
    """Who asks, as Open WebUI reports it to the servers of direct connections (its utils/headers.py)."""
    values = {key: str(user.get(key.lower()) or "").strip() for key in ("Name", "Id", "Email", "Role")}
    # A header has ASCII characters only. Open WebUI quotes the name, and nothing else.
    values["Name"] = quote(values["Name"], safe=" ")
    return {f"X-OpenWebUI-User-{key}": value for key, value in values.items() if value}
