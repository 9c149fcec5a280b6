"""An unstreamed answer of a guarded model."""

import asyncio
import time
import uuid

from moderation.conversation import Turn
from moderation.review import Review
from moderation.verdict import Verdict
from pipelines.answer_reader import AnswerUnreadable
from pipelines.exchange import Cleared, Exchange, MediaWithheld
from pipelines.log import log
from pipelines.prompt import Cleaned, Refused
from pipelines.upstream import UpstreamFailed
from pipelines.webui import Body
from pipelines.whole_answer import WholeAnswer, WholeChoice


class Unstreamed:
    """Makes the answer to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def make(self) -> Body:
        """A `chat.completion`, or a notice in the shape of one.

        Raises:
            UpstreamFailed: its text may be shown.
        """
        exchange = self._exchange
        try:
            return await exchange.answered(self._attempt)
        except Refused as refused:
            return self._only_notice(exchange.refusal(refused))
        except UpstreamFailed as failed:
            exchange.record_answer("", problem=f"the upstream failed: {failed}")
            raise UpstreamFailed(await exchange.told(failed), failed.status) from None
        except Exception as error:
            # An error of ours is no reason to show what nobody judged.
            log.exception("a guarded answer failed")
            exchange.record_answer("", problem=f"the relay failed: {type(error).__name__}")
            return self._only_notice(exchange.unchecked(""))

    async def _attempt(self, cleaned: Cleaned, cleared: Cleared) -> Body:
        exchange = self._exchange
        reply = await exchange.upstream.complete(exchange.sent(cleaned), exchange.headers)
        if exchange.terms.exempt:
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
        choices = [self._decided(*found, took) for found in zip(whole.choices, verdicts, strict=True)]
        return whole.completion(choices)

    async def _judge(self, context: list[Turn], text: str) -> Verdict:
        if context and context[-1].role == "assistant":
            # The request began the answer.
            *context, begun = context
            text = begun.text + text
        return await self._exchange.moderator.guard.judge([*context, Turn("assistant", text)])

    def _decided(self, choice: WholeChoice, verdict: Verdict, took: float) -> Body:
        exchange = self._exchange
        decision = exchange.moderator.policy.decide(verdict)
        if decision.passes:
            try:
                exchange.check_media(choice.media)
            except MediaWithheld as withheld:
                verdict, decision = withheld.review.verdict, withheld.review.decision
        exchange.record_answer(choice.text, verdict, decision, milliseconds=took, unjudged=choice.media)
        if decision.passes:
            return choice.body
        return self._notice(exchange.withheld(Review(verdict, decision, took, True), choice.text), choice.number)

    def _only_notice(self, notice: str) -> Body:
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._exchange.request["model"],
            "choices": [self._notice(notice, 0)],
        }

    def _notice(self, notice: str, index: int) -> Body:
        message = {"role": "assistant", "content": notice}
        return {"index": index, "message": message, "finish_reason": self._exchange.notice_reason}
