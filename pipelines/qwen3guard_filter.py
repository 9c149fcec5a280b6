"""The filter: no unsafe prompt reaches a model, no unsafe answer stays on the page."""

import asyncio
from pathlib import Path
from typing import Any

from pydantic import Field

from moderation.lru_cache import LruCache
from pipelines.lifecycle.saved_valves import mend_saved_valves
from pipelines.lifecycle.shared_valves import SharedValves
from pipelines.marks.judged_mark import take_outlet_mark
from pipelines.marks.signed_notice import attach
from pipelines.marks.signing import unsigned
from pipelines.marks.trust_mark import put_mark
from pipelines.refusal_route import RefusalRoute
from pipelines.upstreams.model_ids import guarded, is_guarded
from webui.bodies import Body, emptied, messages_of, object_or_empty
from webui.current_service import CurrentService
from webui.moderator import ModerationValves, Moderator
from webui.request_context import RequestContext
from webui.request_review import RequestRefused, RequestReview, failed_review
from webui.settings import NOTHING, Targets, Text, chosen
from webui.stored_chat import StoredChatReview, StoredChatTerms

# Answers, and the readers who get them.
_ANSWERS_KEPT = 10_000
_LONGEST_NAME = 200


class Valves(ModerationValves):
    """The settings that only the filter has."""

    pipelines: Targets = Field(["*"], description="Models that the filter applies to; * for all")
    priority: int = Field(0, description="Order among filters, lowest first")
    refusal_model: Text = Field(
        NOTHING, description="Model of this Pipelines server that says notices: qwen3guard_refusal"
    )
    rewrite_history: bool = Field(True, description="Replace refused prompts in the stored chat too")
    reroute: bool = Field(False, description="Send requests for direct models to their guarded ones")


class Pipeline:
    """What the Pipelines server loads."""

    def __init__(self) -> None:
        self.type = "filter"
        # Open WebUI's Models page lists it with a switch, as if it were a model.
        self.name = "Qwen3Guard filter (keep this on: if it is off, nothing is judged)"
        self._home = Path(__file__).with_suffix("")
        self.valves = Valves()
        self._at_start = [mend_saved_valves(self._home), unsigned(), *self.valves.problems]
        self._shared = SharedValves(self._home, self)
        self._moderators = CurrentService(self._make_moderator, self._retire)
        self._route: RefusalRoute | None = None
        self._closing: set[asyncio.Task[None]] = set()
        # An outlet knows neither the reader's language nor what its inlet left out.
        self._languages: LruCache[str, str | None] = LruCache(_ANSWERS_KEPT)
        self._unchecked: LruCache[tuple[str, ...], bool] = LruCache(_ANSWERS_KEPT)
        # Answers that guarded models record themselves. They are judged again unless they are marked, since another
        # worker may have seen otherwise, but what passes is not recorded twice.
        self._recorded: LruCache[tuple[str, ...], bool] = LruCache(_ANSWERS_KEPT)

    async def on_startup(self) -> None:
        self._current()
        self._shared.start()

    async def on_valves_updated(self) -> None:
        self._current()

    async def on_shutdown(self) -> None:
        self._shared.stop()
        await asyncio.gather(*self._closing)
        if moderator := self._moderators.take():
            await moderator.aclose()

    async def inlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The request as it may go on. Never raises: an error of ours withholds the turn."""
        context, moderator = RequestContext.of_body(body, user or {}), self._current()
        try:
            sent = self._for_guarded_model(body, user or {}, context)
            if sent is not None:
                return sent
            self._languages[context.user] = context.language
            fields = {name: value for name, value in body.items() if name != "messages"}
            cleaned = await RequestReview(moderator, messages_of(body), fields, context).review()
        except RequestRefused as refused:
            return self._refusal(body, refused.answer, context)
        except Exception as error:
            failed = failed_review(moderator, context, error)
            return self._refusal(body, failed.answer, context) if failed else body
        if cleaned.unchecked and not context.task:
            self._unchecked[_answer_of(context)] = True
        return {**cleaned.fields, "messages": cleaned.messages}

    async def outlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The chat as it may stay. Never raises: an error of ours withholds the newest answer."""
        # A guarded model judges by itself, and says so. An outlet does not know who answered for a preset, or for a
        # model whose requests are rerouted.
        if take_outlet_mark(body):
            return body
        context = RequestContext.of_body(body, user or {})
        answer = _answer_of(context)
        context = context._replace(language=self._languages.get(context.user))
        terms = StoredChatTerms(
            rewrite_prompts=self.valves.rewrite_history,
            recorded=self._recorded.get(answer) is not None,
            unchecked=self._unchecked.get(answer) is not None,
        )
        messages = messages_of(body)
        ids = [message.get("id") for message in messages]
        newest = ids.index(body.get("id")) if body.get("id") in ids else len(messages) - 1
        await StoredChatReview(self._current(), messages, newest, context, terms).review()
        return body

    def _for_guarded_model(self, body: Body, user: dict[str, Any], context: RequestContext) -> Body | None:
        """The request for a guarded model, which judges by itself; None if the filter must judge."""
        base = _base_of(body)
        # Users who may make presets choose their ids, so a preset counts as what its base is.
        if is_guarded(context.model if base is None else base):
            if base is not None:
                # Open WebUI asks no guarded model's inlet for a preset, whose system prompt a user may have written.
                put_mark(body, user, by_admin=False)
        elif self.valves.reroute and base is None and not self._current().exempts(context.role):
            # Open WebUI asks the inlet of the model that the user picked, so the guarded model's is not asked.
            put_mark(body, user)
            body = {**body, "model": guarded(context.model)}
        else:
            return None
        self._recorded[_answer_of(context)] = True
        return body

    def _refusal(self, body: Body, answer: str, context: RequestContext) -> Body:
        """A request that makes Open WebUI show `answer`, whichever model says it."""
        if self._route and (refusal_model := self._route.model_for(context)):
            request = emptied(body, refusal_model, answer)
            attach(request, answer)
            return request
        prompt = f"Reply with exactly the following text and nothing else:\n\n{answer}"
        return emptied(body, str(body.get("model") or ""), prompt)

    def _current(self) -> Moderator:
        return self._moderators.of(self.valves)

    def _make_moderator(self, valves: Valves) -> Moderator:
        moderator = Moderator(valves, self._home)
        moderator.report(self._at_start)
        moderator.check_guard()
        self._at_start = []
        self._route = RefusalRoute(self._home.parent, chosen(valves.refusal_model), moderator.report_setting)
        return moderator

    def _retire(self, moderator: Moderator) -> None:
        """It finishes what is in flight."""
        task = asyncio.get_running_loop().create_task(moderator.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _answer_of(context: RequestContext) -> tuple[str, ...]:
    """Which answer a request asks for, or an outlet gets."""
    return tuple(name[:_LONGEST_NAME] for name in (context.model, context.chat, context.message))


def _base_of(body: Body) -> object:
    """The model that a preset builds on, as Open WebUI's server says; None if the model is no preset."""
    model = object_or_empty(object_or_empty(body.get("metadata")).get("model"))
    return object_or_empty(model.get("info")).get("base_model_id")
