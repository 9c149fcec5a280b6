"""`/v1/guard/verdicts`: the lean route of a Qwen3Guard-Gen, conversations in, verdicts out. See docs/api.md.

The client does the rest: `moderation.Guard` cleans texts, splits long turns, caches verdicts and has a deadline.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import Busy, Invalid, ModelNotFound, TooLarge
from guard_server.api.http_exchange import body_of, for_each, model_response, parsed, unless_gone
from moderation.conversation import Conversation, WireTurn, as_conversation
from moderation.endpoint.verdict_schema import (
    MOST_CONVERSATIONS,
    VERDICTS_PATH,
    VerdictsOffer,
    VerdictsReply,
    VerdictsRequest,
    WireError,
    WireVerdict,
    as_wire,
)
from moderation.errors import EndpointError, TooLong
from moderation.verdict import Verdict

JUDGE = DescribedRoute(
    "POST",
    f"/v1{VERDICTS_PATH}",
    "Judge the last turn of each conversation; an entry without severity says why.",
    (VerdictsReply,),
    VerdictsRequest,
    (Invalid, ModelNotFound, TooLarge, Busy),
)
OFFER = DescribedRoute("GET", f"/v1{VERDICTS_PATH}", "Whether this route is offered, and its bounds.", (VerdictsOffer,))
MOST_WAITING = 64 * MOST_CONVERSATIONS
"""Maximum of waiting conversations of all requests. Beyond it, an error is better for a client than a long wait."""


class Judge(Protocol):
    """A Qwen3Guard-Gen that judges what fits its context."""

    models: list[str]
    """Its names."""
    context: int
    """Tokens."""

    async def judge(self, conversation: Conversation, *, refusals: bool = False) -> Verdict:
        """The verdict on the last turn; without severity if the model gave none. Raises EndpointError."""
        ...


def routes(judge: Callable[[], Judge], most_waiting: int = MOST_WAITING) -> list[BaseRoute]:
    """The endpoint's routes; `judge` is asked at each request."""
    endpoint = _LeanEndpoint(judge, most_waiting)
    return [JUDGE.at(endpoint.post), OFFER.at(endpoint.describe)]


class _LeanEndpoint:
    def __init__(self, judge: Callable[[], Judge], most_waiting: int) -> None:
        self._provide = judge
        self._most_waiting = most_waiting
        self._waiting = 0

    async def describe(self, request: Request) -> Response:
        judge = self._provide()
        return model_response(VerdictsOffer(models=judge.models, context_tokens=judge.context))

    async def post(self, request: Request) -> Response:
        asked = parsed(await body_of(request), VerdictsRequest)
        return model_response(VerdictsReply(verdicts=await unless_gone(request, self._judge(asked))))

    async def _judge(self, asked: VerdictsRequest) -> list[WireVerdict]:
        judge = self._provide()
        if asked.model is not None and asked.model not in judge.models:
            raise ModelNotFound(f"this server has {' or '.join(judge.models)}", "model")
        if self._waiting + len(asked.conversations) > self._most_waiting:
            raise Busy(f"{self._waiting} conversations wait already: try again later")
        self._waiting += len(asked.conversations)
        try:
            return await for_each(partial(_one, judge, refusals=asked.refusals), asked.conversations)
        finally:
            self._waiting -= len(asked.conversations)


async def _one(judge: Judge, turns: list[WireTurn], *, refusals: bool) -> WireVerdict:
    try:
        return as_wire(await judge.judge(as_conversation(turns), refusals=refusals))
    except TooLong as error:
        return WireVerdict(error=WireError(code="too_long", message=str(error), limit=error.limit))
    except EndpointError as error:
        return WireVerdict(error=WireError(code="no_verdict", message=str(error)))
