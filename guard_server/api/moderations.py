"""`POST /v1/moderations`: OpenAI's Moderations API, answered by Qwen3Guard. See docs/api.md."""

import logging
import uuid
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from guard_server.api.categories import result_of
from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import Invalid, NoVerdict, TooLarge
from guard_server.api.http_exchange import body_of, for_each, json_response, parsed
from guard_server.api.openai_schema import ModerationReply, ModerationRequest
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.verdict import Verdict

PATH = "/v1/moderations"
MODERATE = DescribedRoute(
    "POST",
    PATH,
    "Judge texts, or the last message of a conversation, in OpenAI's words and ours.",
    (ModerationReply,),
    ModerationRequest,
    (Invalid, TooLarge, NoVerdict),
)

_log = logging.getLogger(__name__)


def routes(guard: Callable[[], Guard], policy: Policy | None = None) -> list[BaseRoute]:
    """The endpoint's routes; `guard` is asked at each request. The default policy lets only Safe pass."""
    policy = policy or Policy()

    async def moderate(request: Request) -> Response:
        judge = guard()
        conversations = parsed(await body_of(request), ModerationRequest, surrogates=True).conversations()
        verdicts = await for_each(judge.judge, conversations)
        _all_reached(verdicts)
        reply = ModerationReply(
            id=f"modr-{uuid.uuid4().hex}",
            # Unknown if only empty texts were judged so far.
            model=judge.model or "qwen3guard",
            results=[result_of(verdict, policy) for verdict in verdicts],
        )
        # With spaces, as OpenAI sends it: published Dify workflows look for `"severity": "Safe"` in the text.
        return json_response(reply.model_dump())

    return [MODERATE.at(moderate)]


def _all_reached(verdicts: list[Verdict]) -> None:
    """Raise NoVerdict if one is missing: OpenAI's format has no way to say that a text has no result."""
    for number, verdict in enumerate(verdicts):
        if not verdict.reached:
            # The cause may name internal addresses, which clients must not see.
            _log.warning("no verdict: %s", verdict.problem)
            which = f" on text {number + 1} of {len(verdicts)}" if len(verdicts) > 1 else ""
            raise NoVerdict(f"the guard gave no verdict{which}: treat it as unsafe or try again; the log says why")
