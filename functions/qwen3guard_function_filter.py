"""The filter: no unsafe prompt reaches a model, and nothing unsafe of an answer is shown."""

import asyncio
from inspect import signature
from typing import Any

from functions.answers.answer_state import AnswerState, answer_of, keep_answer
from functions.answers.guarded_route import check_model, is_answered, send_through
from functions.answers.guarded_stream import GuardedStream
from functions.answers.stored_answer import review_stored
from functions.answers.stored_prompt import replace_prompt
from functions.filter_valves import FunctionFilterValves
from functions.host.page_events import Emitter
from functions.moderation_service import ModerationService
from moderation.verdict import Verdict
from webui.bodies import Body, listed, messages_of, object_or_empty
from webui.json_text import is_text
from webui.request_context import RequestContext
from webui.request_review import RequestRefused, RequestReview, failed_review

_UNSTREAMED = (
    "This request was not answered: an answer that is not streamed cannot be checked here. "
    'Send it with "stream": true, or ask the administrator for guarded models.'
)
_UNSEEN = "the filter did not see the request"
_DIVERTED = "another filter sent this request elsewhere"
_SEVERAL = "This request was not answered: several answers at a time cannot be checked. Leave n out."


class TurnRefused(Exception):
    """Ends a request. Open WebUI shows the text: in its page as a calm bar, to programs with status 400."""


class Filter:
    """What Open WebUI loads. One object serves all requests of a worker."""

    Valves = FunctionFilterValves

    def __init__(self) -> None:
        self.valves = self.Valves()
        self._service = ModerationService()

    async def inlet(
        self,
        body: Body,
        __user__: Body | None = None,
        __request__: Any = None,
        __metadata__: Body | None = None,
        __model__: Body | None = None,
    ) -> Body:
        """The request as it may go on.

        Raises:
            TurnRefused
        """
        metadata = object_or_empty(__metadata__)
        state = self._new_state(body, __user__, metadata)
        keep_answer(__request__, metadata.get("message_id"), state)
        state.by_models = _is_guarded(object_or_empty(__model__), state.valves.models_function)
        if state.on_page:
            # Nothing of an answer passes here that is not streamed.
            body = {**body, "stream": True}
        state.is_sent_through = not state.by_models and _goes_through(body, state, __request__)
        state.by_models |= state.is_sent_through
        if state.is_enforced and not state.by_models:
            _check_form(body, state)
        context, fields = state.context, {name: value for name, value in body.items() if name != "messages"}
        try:
            review = RequestReview(state.moderator, messages_of(body), fields, context)
            cleaned = await review.review()
            state.preface = review.preface(cleaned)
        except RequestRefused as refused:
            if state.valves.rewrite_history:
                await replace_prompt(state, metadata.get("user_message_id"), refused)
            raise TurnRefused(refused.answer) from None
        except Exception as error:
            return _unreviewed(body, state, error)
        return {**cleaned.fields, "messages": cleaned.messages}

    async def request(
        self,
        body: Body,
        __user__: Body | None = None,
        __request__: Any = None,
        __metadata__: Body | None = None,
    ) -> Body:
        """What a model is sent, with all that Open WebUI added: documents, memory, results of tools.

        Raises:
            TurnRefused
        """
        metadata = object_or_empty(__metadata__)
        message = metadata.get("message_id")
        state = answer_of(__request__, message)
        reviewed = state is not None
        if state is None:
            # The filter was switched on after the inlet of this request.
            state = self._new_state(body, __user__, metadata)
            keep_answer(__request__, message, state)
        if state.is_sent_through:
            return self._sent_through(body, state, __request__, message)
        if state.by_models:
            return body
        context = state.context._replace(reviewed=reviewed)
        fields = {name: value for name, value in body.items() if name != "messages"}
        try:
            review = RequestReview(state.moderator, messages_of(body), fields, context)
            cleaned = await review.review()
            terms = state.terms()._replace(
                context=cleaned.context,
                preface=review.preface(cleaned) or state.preface,
                sources=listed(metadata.get("sources")),
            )
            # It is said once, not in each round of tools.
            state.preface = ""
            state.stream = GuardedStream(state.moderator, context, review.notices, terms)
        except RequestRefused as refused:
            raise TurnRefused(refused.answer) from None
        except Exception as error:
            return _unreviewed(body, state, error)
        return {**cleaned.fields, "messages": cleaned.messages}

    async def stream(self, event: Body, __request__: Any = None, __message_id__: str | None = None) -> Body:
        """What may be shown now of an answer. Raises nothing but what stops a refused answer."""
        state = answer_of(__request__, __message_id__)
        if state is None:
            state = AnswerState(self.valves, self._service.of(self.valves), RequestContext(), on_page=False)
            keep_answer(__request__, __message_id__, state)
            return state.stream.refuse(_UNSEEN)
        if state.by_models:
            passes = is_answered(__request__, __message_id__ or "") or _names_the_model(event)
            return event if passes else state.stream.refuse(_DIVERTED)
        return event if state.exempt else await state.stream.pass_on(event)

    # Open WebUI asks for it at each event, and finds it here three times as fast as it would work it out.
    stream.__signature__ = signature(stream)  # type: ignore[attr-defined]

    async def outlet(
        self,
        body: Body,
        __user__: Body | None = None,
        __request__: Any = None,
        __metadata__: Body | None = None,
        __event_emitter__: Emitter | None = None,
    ) -> Body:
        """The chat as it may stay. A program's answer that could not be judged never reaches it."""
        metadata = object_or_empty(__metadata__)
        state = answer_of(__request__, metadata.get("message_id"))
        if state is None:
            state = self._new_state(body, __user__, metadata)
        if state.by_models:
            return body
        if not state.context.chat and state.is_enforced and not state.stream.begun:
            # The model server sent a whole answer though it was asked for a stream: nothing else ends this.
            head = state.context.head("response")
            state.moderator.audit.record(head, verdict=Verdict.none("the model server did not stream its answer"))
            raise asyncio.CancelledError("the answer could not be checked")
        return await review_stored(body, state, __event_emitter__)

    def _new_state(self, body: Body, user: Body | None, metadata: Body) -> AnswerState:
        context = RequestContext.of_body({**body, "metadata": metadata}, user or {})
        on_page = bool(metadata.get("session_id") and metadata.get("chat_id") and metadata.get("message_id"))
        return AnswerState(self.valves, self._service.of(self.valves), context, on_page=on_page)

    def _sent_through(self, body: Body, state: AnswerState, request: Any, message: object) -> Body:
        function = state.valves.models_function
        if body.get("model") != check_model(function):
            state.model = str(body.get("model") or "")
        return send_through(request, str(message or ""), body, function, state.model)


def _is_guarded(model: Body, function: str) -> bool:
    """Whether the guarded models' function offers this model. A preset counts as what its base is: users choose ids."""
    base = object_or_empty(model.get("info")).get("base_model_id")
    return str(model.get("id") if base is None else base).startswith(f"{function}.")


def _names_the_model(event: Body) -> bool:
    """Whether Open WebUI says with it which model an arena has picked, before that model is asked."""
    return event.keys() == {"selected_model_id"} and not is_text(str(event["selected_model_id"]))


def _goes_through(body: Body, state: AnswerState, request: Any) -> bool:
    """Whether the guarded models' function is to answer in the picked model's place."""
    if state.valves.answers == "models":
        return True
    if body.get("stream") or not state.is_enforced or state.valves.unstreamed == "refuse":
        return False
    return check_model(state.valves.models_function) in request.app.state.MODELS


def _check_form(body: Body, state: AnswerState) -> None:
    """Raises TurnRefused for a request whose answer nobody could judge."""
    several = body.get("n") not in (None, 1)
    if body.get("stream") and not several:
        return
    words = _SEVERAL if body.get("stream") else _UNSTREAMED
    state.moderator.audit.record(state.context.head("prompt"), verdict=Verdict.none(words))
    raise TurnRefused(words)


def _unreviewed(body: Body, state: AnswerState, error: Exception) -> Body:
    """The request after an error of ours, if the admin lets it pass. Raises TurnRefused otherwise."""
    failed = failed_review(state.moderator, state.context, error)
    if failed is not None:
        raise TurnRefused(failed.answer) from None
    return body
