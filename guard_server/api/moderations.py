"""`POST /v1/moderations`: OpenAI's Moderations API, answered by Qwen3Guard. See docs/api.md."""

import logging
import uuid
from collections.abc import Callable

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from guard_server.api.categories import result_of
from guard_server.api.errors import Invalid, NoVerdict, TooLarge
from guard_server.api.exchange import Fields, exchange, for_each
from guard_server.api.texts import conversation_of, is_part, text_of
from moderation.conversation import Conversation, Turn
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.verdict import Verdict

PATH = "/v1/moderations"
MAX_INPUTS = 128
"""Texts of one request: two rounds of the guard's 64 requests at a time."""

_log = logging.getLogger(__name__)


def routes(guard: Callable[[], Guard], policy: Policy | None = None) -> list[BaseRoute]:
    """The endpoint's routes; `guard` is asked at each request. The default policy lets only Safe pass."""
    policy = policy or Policy()

    async def moderate(fields: Fields, request: Request) -> Fields:
        judge = guard()
        conversations = _conversations(fields)
        verdicts = await for_each(judge.judge, conversations)
        _all_reached(verdicts)
        return {
            "id": f"modr-{uuid.uuid4().hex}",
            # Not known where empty texts are all that was ever judged.
            "model": judge.model or "qwen3guard",
            "results": [result_of(verdict, policy) for verdict in verdicts],
        }

    return [Route(PATH, exchange(moderate), methods=["POST"])]


def _conversations(fields: Fields) -> list[Conversation]:
    """What is to be judged: one conversation for each result."""
    given, messages = fields.get("input"), fields.get("messages")
    if messages is not None:
        # OpenAI's SDK always sends an input; an empty one says nothing that could be missed.
        if given:
            raise Invalid("send input or messages, not both", "messages")
        return [conversation_of(messages)]
    if given is None:
        raise Invalid("input is missing: a string, a list of strings, or a list of text parts", "input")
    return [[Turn("user", text)] for text in _texts(given)]


def _texts(given: object) -> list[str]:
    if not isinstance(given, list) or (given and all(map(is_part, given))):
        # Parts make up one input together, as OpenAI's do.
        return [text_of(given, "input")]
    if not given:
        raise Invalid("input is an empty list", "input")
    if len(given) > MAX_INPUTS:
        raise TooLarge(f"input may have {MAX_INPUTS} texts, this one has {len(given)}: send several requests", "input")
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise Invalid(
                f"input[{number}] must be a string; text parts cannot stand among strings", f"input[{number}]"
            )
    return given


def _all_reached(verdicts: list[Verdict]) -> None:
    """No verdict is no result: to send the others would leave a client to guess about this one."""
    for number, verdict in enumerate(verdicts):
        if not verdict.reached:
            # The cause may name addresses of the guard's network, which are no business of a client.
            _log.warning("no verdict: %s", verdict.problem)
            which = f" on text {number + 1} of {len(verdicts)}" if len(verdicts) > 1 else ""
            raise NoVerdict(f"the guard gave no verdict{which}: treat it as unsafe or try again; the log says why")
