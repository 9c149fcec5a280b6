"""`POST /v1/beta/litellm_basic_guardrail_api`: LiteLLM's generic guardrail API. See docs/api.md.

LiteLLM treats every reply with status 200 as "nothing found", unless its action is `BLOCKED`, and an admin can choose
that a guard that fails is passed over. So a turn without verdict is blocked, with the notice that it could not be
checked.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import Invalid, TooLarge
from guard_server.api.http_exchange import MAX_BYTES, body_of, for_each, model_response, parsed
from guard_server.api.litellm_schema import GuardrailReply, GuardrailRequest, replaced
from moderation.context import NO_CONTEXT, Context
from moderation.conversation import Turn
from moderation.guard import Guard
from moderation.lru_cache import LruCache
from moderation.notices.notice import NoticeKind, Notices
from moderation.policy import Action, Policy
from moderation.review import ChatReview, Message, Review
from moderation.verdict import Verdict

PATH = "/v1/beta/litellm_basic_guardrail_api"
GUARDRAIL = DescribedRoute(
    "POST",
    PATH,
    "LiteLLM's generic guardrail API: judge the messages of a request, or an answer after its prompt.",
    (GuardrailReply,),
    GuardrailRequest,
    (Invalid, TooLarge),
)

# LiteLLM sends each text twice, and images as well.
_MOST_BYTES = 4 * MAX_BYTES
# For all messages of a request; each verdict has its own deadline.
_SECONDS = 30.0
# Bytes of prompts in memory, whose answers may follow; the oldest are dropped.
_REMEMBERED = 64 * 2**20
_PASSES = GuardrailReply(action="NONE")

_log = logging.getLogger(__name__)


def routes(guard: Callable[[], Guard], policy: Policy | None = None, notices: Notices | None = None) -> list[BaseRoute]:
    """The endpoint's routes; `guard` is asked at each request. The default policy lets only Safe pass."""
    guardrail = _Guardrail(guard, policy or Policy(), notices or Notices())
    return [GUARDRAIL.at(guardrail.answer)]


class _Prompt(NamedTuple):
    """What an answer answers."""

    context: Context
    size: int
    """Bytes of all turns."""


class _Decided(NamedTuple):
    """A text, and what happens to it."""

    text: str
    verdict: Verdict
    action: Action


class _Guardrail:
    def __init__(self, guard: Callable[[], Guard], policy: Policy, notices: Notices) -> None:
        self._guard = guard
        self._policy = policy
        self._notices = notices
        self._prompts: LruCache[str, _Prompt] = LruCache(_REMEMBERED, lambda prompt: prompt.size)
        """By LiteLLM's id of the call."""

    async def answer(self, request: Request) -> Response:
        asked = parsed(await body_of(request, _MOST_BYTES), GuardrailRequest)
        work = self._judge_prompt if asked.input_type == "request" else self._judge_answer
        return model_response(await work(asked), exclude_unset=True)

    async def _judge_prompt(self, asked: GuardrailRequest) -> GuardrailReply:
        guard, messages, rows = self._guard(), asked.messages(), list(asked.structured_messages or ())
        found = await ChatReview(messages, guard, self._policy, self._notices).review(_SECONDS)
        stopped = {at: review for at, review in enumerate(found) if review is not None and not review.decision.passes}
        first_new = asked.first_new()
        texts = [message.text for message in messages]
        blocked: list[_Decided] = []
        for at, review in stopped.items():
            row = replaced(rows[at], self._old_notice(messages[at], review)) if at < first_new else None
            if row is None:
                text = "\n".join((texts[at], *messages[at].asides))
                blocked.append(_Decided(text, review.verdict, review.decision.action))
            else:
                rows[at], texts[at] = row, row["content"]
        if blocked:
            return self._blocked(blocked, NoticeKind.PROMPT_REFUSED)
        turns = [Turn(message.role, text) for message, text in zip(messages, texts, strict=True) if text]
        if asked.litellm_call_id is not None:
            await self._remember(asked.litellm_call_id, guard, turns)
        return GuardrailReply(action="GUARDRAIL_INTERVENED", structured_messages=rows) if stopped else _PASSES

    async def _remember(self, call: str, guard: Guard, turns: Sequence[Turn]) -> None:
        context = await guard.context(turns)
        self._prompts[call] = _Prompt(context, len(call) + sum(node.size for node in context.newest_first()))

    async def _judge_answer(self, asked: GuardrailRequest) -> GuardrailReply:
        guard, prompt = self._guard(), self._prompts.get(asked.litellm_call_id or "")
        # Without its prompt, an answer is judged alone: LiteLLM did not ask about the prompt, or asked another server.
        context = NO_CONTEXT if prompt is None else prompt.context
        texts = asked.loose_texts()
        verdicts = await for_each(partial(_judge, guard, context), texts)
        decided = [
            _Decided(text, verdict, self._policy.decide(verdict).action)
            for text, verdict in zip(texts, verdicts, strict=True)
        ]
        stopped = [one for one in decided if one.action is not Action.PASS]
        return self._blocked(stopped, NoticeKind.ANSWER_WITHHELD) if stopped else _PASSES

    def _old_notice(self, message: Message, review: Review) -> str:
        if review.is_refused:
            return self._notices.removed(message.role, message.text)
        _log.warning("no verdict on an earlier message: %s", review.verdict.problem)
        return self._notices.text(NoticeKind.TURN_UNCHECKED, message.text)

    def _blocked(self, stopped: Sequence[_Decided], refused: NoticeKind) -> GuardrailReply:
        """The reply for texts that do not pass. The notice is about a refused one, if there is one."""
        for one in stopped:
            if one.action is Action.WITHHOLD:
                _log.warning("no verdict: %s", one.verdict.problem)
        first = min(stopped, key=lambda one: one.action is Action.WITHHOLD)
        kind = refused if first.action is Action.REFUSE else NoticeKind.NOT_CHECKED
        return GuardrailReply(action="BLOCKED", blocked_reason=self._notices.text(kind, first.text))


async def _judge(guard: Guard, context: Context, text: str) -> Verdict:
    return await guard.judge_turn(context, "assistant", await guard.read(text))
