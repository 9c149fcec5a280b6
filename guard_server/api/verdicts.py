"""`/v1/guard/verdicts`: the lean route of a Qwen3Guard-Gen, conversations in, verdicts out. See docs/api.md.

Whoever asks does the rest: `moderation.Guard` cleans texts, cuts long turns, remembers verdicts and has a deadline.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from guard_server.api.errors import ApiError, Busy, Invalid, UnknownModel
from guard_server.api.exchange import CLIENT_LEFT, body_of, for_each, json_response, unless_gone
from moderation.conversation import Conversation
from moderation.errors import EndpointError, TooLong
from moderation.verdict import Verdict
from moderation.verdict_wire import (
    MOST_CONVERSATIONS,
    VERDICTS_PATH,
    VerdictsOffer,
    VerdictsReply,
    VerdictsRequest,
    WireError,
    WireTurn,
    WireVerdict,
    as_conversation,
    as_told,
)

MOST_WAITING = 64 * MOST_CONVERSATIONS
"""Conversations of all requests at a time; beyond it a client is better told so than kept waiting."""


class Judge(Protocol):
    """A Qwen3Guard-Gen that judges what fits its context."""

    models: list[str]
    """Its names."""
    context: int
    """Tokens."""

    async def judge(self, conversation: Conversation, *, refusals: bool = False) -> Verdict:
        """The verdict of the last turn; one without severity where there is none. Raises EndpointError."""
        ...


def routes(judge: Callable[[], Judge], most_waiting: int = MOST_WAITING) -> list[BaseRoute]:
    """The endpoint's routes; `judge` is asked at each request."""
    endpoint = _Endpoint(judge, most_waiting)
    path = f"/v1{VERDICTS_PATH}"
    return [Route(path, endpoint.post, methods=["POST"]), Route(path, endpoint.describe, methods=["GET"])]


class _Endpoint:
    def __init__(self, judge: Callable[[], Judge], most_waiting: int) -> None:
        self._provide = judge
        self._most_waiting = most_waiting
        self._waiting = 0

    async def describe(self, request: Request) -> Response:
        judge = self._provide()
        return _as_json(VerdictsOffer(models=judge.models, context_tokens=judge.context))

    async def post(self, request: Request) -> Response:
        try:
            asked = _parse(await body_of(request))
            return _as_json(VerdictsReply(verdicts=await unless_gone(request, self._judge(asked))))
        except ApiError as error:
            return json_response(error.body, error.status)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)

    async def _judge(self, asked: VerdictsRequest) -> list[WireVerdict]:
        judge = self._provide()
        if asked.model is not None and asked.model not in judge.models:
            raise UnknownModel(f"this server has {' or '.join(judge.models)}", "model")
        if self._waiting + len(asked.conversations) > self._most_waiting:
            raise Busy(f"{self._waiting} conversations wait already: try again later")
        self._waiting += len(asked.conversations)
        try:
            return await for_each(partial(_one, judge, refusals=asked.refusals), asked.conversations)
        finally:
            self._waiting -= len(asked.conversations)


async def _one(judge: Judge, turns: list[WireTurn], *, refusals: bool) -> WireVerdict:
    try:
        return as_told(await judge.judge(as_conversation(turns), refusals=refusals))
    except TooLong as error:
        return WireVerdict(error=WireError(code="too_long", message=str(error), limit=error.limit))
    except EndpointError as error:
        return WireVerdict(error=WireError(code="no_verdict", message=str(error)))


def _parse(body: bytes) -> VerdictsRequest:
    try:
        return VerdictsRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        raise Invalid(f"{field or 'the body'}: {first['msg']}", field) from None


def _as_json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
