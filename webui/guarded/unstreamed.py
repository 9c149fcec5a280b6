"""An unstreamed answer of a guarded model."""

import asyncio
import time

from moderation.conversation import Turn
from moderation.review import Review
from moderation.verdict import Verdict
from webui.bodies import Body, object_or_empty
from webui.chat_completions import completion, completion_head, message_choice
from webui.guarded.answer_reader import AnswerUnreadable
from webui.guarded.guarded_request import Cleared, GuardedRequest, MediaWithheld
from webui.guarded.upstream import UpstreamFailed
from webui.guarded.whole_answer import WholeAnswer, WholeChoice
from webui.log import log
from webui.request_review import CleanRequest, RequestRefused


class Unstreamed:
    """Makes the answer to one request."""

    def __init__(self, request: GuardedRequest) -> None:
        self._request = request

    async def make(self) -> Body:
        """A `chat.completion`, or a notice in the shape of one.

        Raises:
            UpstreamFailed: its text may be shown.
        """
        request = self._request
        try:
            return await request.answered(self._attempt)
        except RequestRefused as refused:
            return self._only_notice(refused.answer)
        except UpstreamFailed as failed:
            request.record_answer("", problem=f"the upstream failed: {failed}")
            raise UpstreamFailed(await request.explained(failed), failed.status) from None
        except asyncio.CancelledError:
            request.record_answer("", problem="the reader left, or the server stopped")
            raise
        except Exception as error:
            # An error of ours is no reason to show what nobody judged.
            log.exception("a guarded answer failed")
            request.record_answer("", problem=f"the relay failed: {type(error).__name__}")
            return self._only_notice(request.notices.unchecked(""))

    async def _attempt(self, cleaned: CleanRequest, cleared: Cleared) -> Body:
        request = self._request
        reply = await request.upstream.complete(request.sent(cleaned), request.terms.headers)
        if request.exempt:
            return reply
        try:
            whole = WholeAnswer(reply)
        except AnswerUnreadable as error:
            raise UpstreamFailed(str(error), 502) from None
        started = time.monotonic()
        verdicts = await asyncio.gather(*(self._judge(cleaned.context, choice.text) for choice in whole.choices))
        took = round((time.monotonic() - started) * 1000, 1)
        # An attempt may still be cancelled and made again, and only one goes into the audit.
        await asyncio.shield(cleared)
        preface = request.preface(cleaned)
        choices = [self._decided(*found, took, preface) for found in zip(whole.choices, verdicts, strict=True)]
        return whole.completion(choices)

    async def _judge(self, context: list[Turn], text: str) -> Verdict:
        if context and context[-1].role == "assistant":
            # The request began the answer.
            *context, begun = context
            text = begun.text + text
        return await self._request.moderator.guard.judge([*context, Turn("assistant", text)])

    def _decided(self, choice: WholeChoice, verdict: Verdict, took: float, preface: str) -> Body:
        request = self._request
        decision = request.moderator.policy.decide(verdict)
        if decision.passes:
            try:
                request.check_media(choice.media)
            except MediaWithheld as withheld:
                verdict, decision = withheld.review.verdict, withheld.review.decision
        request.record_answer(choice.text, verdict, decision, milliseconds=took, unjudged=choice.media)
        if decision.passes:
            return _prefaced(choice.body, preface) if preface else choice.body
        return self._notice(request.notices.withheld(Review(verdict, decision, took, True), choice.text), choice.number)

    def _only_notice(self, notice: str) -> Body:
        return completion(completion_head(self._request.model), [self._notice(notice, 0)])

    def _notice(self, notice: str, index: int) -> Body:
        return message_choice(notice, self._request.notices.finish_reason, index)


def _prefaced(choice: Body, preface: str) -> Body:
    """A choice whose content, if it is a text, begins with `preface`."""
    message = object_or_empty(choice.get("message"))
    content = message.get("content")
    if not isinstance(content, str) or not content:
        return choice
    return {**choice, "message": {**message, "content": preface + content}}
