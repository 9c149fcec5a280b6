"""The filter: no unsafe prompt reaches a model, no unsafe answer stays on the page."""

import asyncio
from pathlib import Path
from typing import Any

from pydantic import Field

from moderation.audit import AuditRecord
from moderation.notice import NoticeKind
from moderation.policy import Action
from moderation.review import Review
from moderation.verdict import Verdict
from pipelines.extra_fields import ExtraFields
from pipelines.log import log
from pipelines.mark import put_mark
from pipelines.messages import decisive, mark_once, read, replace
from pipelines.model_ids import guarded, is_guarded
from pipelines.moderator import ModerationValves, Moderator
from pipelines.reply import attach
from pipelines.signing import unsigned
from pipelines.task_prompt import quoted_by_task, without_quotes
from pipelines.valves import NOTHING, Targets, Text, chosen, mend_saved_valves, words
from pipelines.webui import (
    Body,
    emptied,
    messages_of,
    neutral_answer,
    newest_turn,
    object_or_empty,
    task_of,
)


class Valves(ModerationValves):
    """The settings that only the filter has."""

    pipelines: Targets = Field(["*"], description="Models that the filter applies to; * for all")
    priority: int = Field(0, description="Order among filters, lowest first")
    refusal_model: Text = Field(NOTHING, description="Model that delivers notices, such as qwen3guard_refusal")
    rewrite_history: bool = Field(True, description="Replace refused prompts in the stored chat too")
    reroute: bool = Field(False, description="Send requests for direct models to their guarded ones")


class Pipeline:
    """What the Pipelines server loads."""

    def __init__(self) -> None:
        self.type = "filter"
        self.name = "Qwen3Guard"
        self._home = Path(__file__).with_suffix("")
        self._at_start = [mend_saved_valves(self._home), unsigned()]
        self.valves = Valves()
        self._moderator: Moderator | None = None
        self._closing: set[asyncio.Task[None]] = set()
        # Models whose last request went to a guarded one: an outlet is told neither of that nor of a preset's base.
        self._guarded: set[str] = set()

    async def on_startup(self) -> None:
        self._current()

    async def on_valves_updated(self) -> None:
        self._current()

    async def on_shutdown(self) -> None:
        await asyncio.gather(*self._closing)
        if self._moderator:
            await self._moderator.aclose()
            self._moderator = None

    async def inlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The request as it may go on. Never raises: an error of ours withholds the turn."""
        try:
            return await self._inlet(body, user or {})
        except Exception as error:
            log.exception("inlet failed")
            result = self._failure(body, user or {}, "prompt", error)
            return body if result.decision.passes else self._refusal(body, result, {})

    async def outlet(self, body: Body, user: dict[str, Any] | None = None) -> Body:
        """The chat as it may stand. Never raises: an error of ours withholds the newest answer."""
        try:
            return await self._outlet(body, user or {})
        except Exception as error:
            log.exception("outlet failed")
            result = self._failure(body, user or {}, "response", error)
            for message in [] if result.decision.passes else messages_of(body)[-1:]:
                replace(message, self._current().notice(result, {}, NoticeKind.ANSWER_WITHHELD))
            return body

    async def _inlet(self, body: Body, user: dict[str, Any]) -> Body:
        moderator = self._current()
        model, base = str(body.get("model") or ""), _base_of(body)
        # Whoever may make presets chooses their ids, so a preset is what its base is.
        if is_guarded(model if base is None else base):
            self._guarded.add(model)
            if base is not None:
                # Open WebUI asks no guarded model's inlet for a preset, whose system prompt a user may have written.
                put_mark(body, user, by_admin=False)
            return body
        self._guarded.discard(model)
        if self._exempt(body, user, "prompt"):
            return body
        if self.valves.reroute and base is None:
            self._guarded.add(model)
            # Open WebUI asks the inlet of the model that the user picked, so the guarded model's is not asked.
            put_mark(body, user)
            return {**body, "model": guarded(model)}
        messages = messages_of(body)
        quoted = quoted_by_task(body)
        judged = without_quotes(messages, quoted)
        fields = {name: value for name, value in body.items() if name != "messages"}
        reviews, quoted_reviews, extra = await asyncio.gather(
            moderator.review(judged),
            moderator.review(quoted),
            ExtraFields(moderator, fields, host=True).review(),
        )
        decides = decisive(messages, newest_turn(messages))
        for message, result, newest in zip(judged, reviews, decides, strict=True):
            if result and (newest or result.fresh):
                direction = "task" if task_of(body) else "prompt" if newest else "history"
                moderator.record(self._head(body, user, direction), message, result)
        for message, result in zip(quoted, quoted_reviews, strict=True):
            if result and (result.fresh or not result.decision.passes):
                moderator.record(self._head(body, user, "task"), message, result)
        for direction, message, result in extra.judged:
            moderator.record(self._head(body, user, direction), message, result)
        barred = zip([*quoted, *judged], [*quoted_reviews, *reviews], [*([True] * len(quoted)), *decides], strict=True)
        for message, result, newest in barred:
            if newest and result and not result.decision.passes:
                return self._refusal(body, result, message)
        if extra.refused:
            return self._refusal(body, extra.refused[1], extra.refused[0])
        for message, result in zip(messages, reviews, strict=True):
            if result and not result.decision.passes:
                moderator.remove(message)
        return {**extra.fields, "messages": messages}

    async def _outlet(self, body: Body, user: dict[str, Any]) -> Body:
        moderator = self._current()
        # A guarded model judges by itself: nothing is to be judged and audited twice.
        if str(body.get("model") or "") in self._guarded:
            return body
        if self._exempt(body, user, "response"):
            return body
        messages = messages_of(body)
        # Sources are the documents that the page shows behind a click; a refused answer loses them.
        reviews = await moderator.review(
            [{key: value for key, value in message.items() if key != "sources"} for message in messages]
        )
        ids = [message.get("id") for message in messages]
        newest = ids.index(body.get("id")) if body.get("id") in ids else len(messages) - 1
        asked: tuple[Body, Review | None] = {}, None
        for index, (message, result) in enumerate(zip(messages, reviews, strict=True)):
            is_answer = message.get("role") == "assistant"
            said = read(message, role="user")
            settled = moderator.notices.recognises(said.text) and not said.asides
            if result and (index == newest or result.fresh):
                direction = "response" if index == newest else "history"
                moderator.record(self._head(body, user, direction, message), message, result)
            refused = result is not None and result.decision.action is Action.REFUSE
            if settled and index != newest:
                mark_once(message)
            elif is_answer and index == newest and not settled and asked[1] and not asked[1].decision.passes:
                # The chat model was asked to say the notice; whatever it said, the notice stands.
                replace(message, moderator.notice(asked[1], asked[0], NoticeKind.PROMPT_REFUSED))
            elif is_answer and result and (refused or (index == newest and not result.decision.passes)):
                replace(message, moderator.notice(result, message, NoticeKind.ANSWER_WITHHELD))
            elif refused and self.valves.rewrite_history:
                asked = dict(message), result
                moderator.remove(message)
                continue
            if not is_answer:
                asked = message, result
        return body

    def _refusal(self, body: Body, result: Review, message: Body) -> Body:
        """A request that makes Open WebUI show the notice, whoever answers it."""
        moderator = self._current()
        notice = moderator.notice(result, message, NoticeKind.PROMPT_REFUSED)
        task = task_of(body)
        answer = neutral_answer(task, notice) if task else notice
        refusal_model = chosen(self.valves.refusal_model)
        if refusal_model:
            request = emptied(body, refusal_model, answer)
            attach(request, answer)
            return request
        prompt = f"Reply with exactly the following text and nothing else:\n\n{answer}"
        return emptied(body, str(body.get("model") or ""), prompt)

    def _failure(self, body: Body, user: dict[str, Any], direction: str, error: Exception) -> Review:
        """An error of ours is a missing verdict like any other, audited and decided on as the admin wants."""
        verdict = Verdict.none(f"the filter failed: {type(error).__name__}")
        result = Review(verdict, self._current().policy.decide(verdict), 0, True)
        self._current().record(self._head(body, user, direction), {}, result)
        return result

    def _exempt(self, body: Body, user: dict[str, Any], direction: str) -> bool:
        role = str(user.get("role") or "").lower()
        if role not in [name.lower() for name in words(self.valves.exempt_roles)]:
            return False
        head = self._head(body, user, direction)
        self._current().audit.record(head.model_copy(update={"action": "exempt", "problem": f"role {role} is exempt"}))
        return True

    def _head(self, body: Body, user: dict[str, Any], direction: str, message: Body | None = None) -> AuditRecord:
        """Who and where, as far as Open WebUI tells."""
        metadata = body.get("metadata")
        known = {**(metadata if isinstance(metadata, dict) else {}), **body}
        told = {
            "chat": known.get("chat_id"),
            "message": (message or known).get("id") or known.get("message_id"),
            "user": user.get("id"),
            "model": body.get("model"),
        }
        return AuditRecord.model_validate(
            {"direction": direction, **{key: str(value) for key, value in told.items() if value}}
        )

    def _current(self) -> Moderator:
        """Made anew when the valves were replaced, which the server does by itself."""
        if self._moderator is None or self._moderator.valves is not self.valves:
            retired, self._moderator = self._moderator, Moderator(self.valves, self._home)
            # What was rerouted under the old valves may not be under these.
            self._guarded.clear()
            if retired:
                # It finishes what is in flight, and nobody's Save waits for that.
                task = asyncio.get_running_loop().create_task(retired.aclose())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            self._moderator.report(self._at_start)
            self._at_start = []
        return self._moderator


def _base_of(body: Body) -> object:
    """The model that a preset builds on, as Open WebUI's server tells; None where the model is no preset."""
    model = object_or_empty(object_or_empty(body.get("metadata")).get("model"))
    return object_or_empty(model.get("info")).get("base_model_id")
