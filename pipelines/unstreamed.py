"""An unstreamed answer of a guarded model."""

import asyncio
import time
import uuid

from moderation.conversation import Turn
from moderation.review import Review
from moderation.verdict import Verdict
from pipelines.chunks import answer_texts
from pipelines.exchange import Cleared, Exchange
from pipelines.prompt import Cleaned, Refused
from pipelines.webui import Body


class Unstreamed:
    """Makes the answer to one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def make(self) -> Body:
        """A `chat.completion`, or a notice in the shape of one.

        Raises:
            UpstreamFailed
        """
        try:
            return await self._exchange.answered(self._attempt)
        except Refused as refused:
            return {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": self._exchange.request["model"],
                "choices": [self._notice(self._exchange.refusal(refused), 0)],
            }

    async def _attempt(self, cleaned: Cleaned, cleared: Cleared) -> Body:
        reply = await self._exchange.upstream.complete({**cleaned.fields, "messages": cleaned.messages})
        if self._exchange.terms.exempt:
            return reply
        choices = [choice for choice in reply.get("choices") or [] if isinstance(choice, dict)]
        texts = [answer_texts(choice) for choice in choices]
        started = time.monotonic()
        verdicts = await asyncio.gather(*(self._judge(cleaned.context, text) for text in texts))
        took = round((time.monotonic() - started) * 1000, 1)
        # An attempt may still be cancelled and made again, and only one goes into the audit.
        await asyncio.shield(cleared)
        reply["choices"] = [
            self._decided(choice, text, verdict, took)
            for choice, text, verdict in zip(choices, texts, verdicts, strict=True)
        ]
        return reply

    async def _judge(self, context: list[Turn], text: str) -> Verdict:
        if context and context[-1].role == "assistant":
            # The request began the answer.
            *context, begun = context
            text = begun.text + text
        return await self._exchange.moderator.guard.judge([*context, Turn("assistant", text)])

    def _decided(self, choice: Body, text: str, verdict: Verdict, took: float) -> Body:
        decision = self._exchange.moderator.policy.decide(verdict)
        self._exchange.record_answer(text, verdict, decision, milliseconds=took)
        if decision.passes:
            return choice
        return self._notice(
            self._exchange.withheld(Review(verdict, decision, took, True), text), choice.get("index", 0)
        )

    def _notice(self, notice: str, index: int) -> Body:
        message = {"role": "assistant", "content": notice}
        return {"index": index, "message": message, "finish_reason": self._exchange.notice_reason}
