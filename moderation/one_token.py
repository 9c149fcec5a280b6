"""A verdict in one generated token, from a server whose chat template takes how the reply begins."""

import openai

from moderation.completion_wire import CompletionWire
from moderation.conversation import Conversation, kind_of
from moderation.errors import EndpointError
from moderation.prefill import VERDICT_PREFILL, label_probabilities, severity_after_prefill
from moderation.replies import OddReply
from moderation.verdict import Severity, Verdict, parse_reply

# A verdict with many categories is 37 tokens of Qwen's vocabulary; a smaller vocabulary may need more.
REPLY_TOKENS = 128
# As many as OpenAI's API allows: enough to hold all three labels where the ids of their tokens are not known.
TOP_LOGPROBS = 20
# "Yes" and "No" are one token each of Qwen's vocabulary; a smaller one may spell them.
WORD_TOKENS = 4


class OneTokenVerdicts:
    """Asked over `wire`, whose errors it leaves as they are."""

    def __init__(self, wire: CompletionWire) -> None:
        self._wire = wire

    async def label(self, model: str, conversation: Conversation, ids: tuple[int, ...]) -> Verdict | None:
        """The severity; None where the server does not honour the prefill.

        Args:
            model: its name.
            conversation: its last turn is judged.
            ids: the first tokens of the three labels; empty where these are not known.
        """
        wanted = {"logprob_token_ids": ids} if ids else {"top_logprobs": TOP_LOGPROBS}
        reply = await self._wire.complete(model, conversation, 1, prefill=VERDICT_PREFILL, logprobs=True, **wanted)
        severity = severity_after_prefill(reply.first_token)
        if severity is None:
            return None
        return Verdict(severity=severity, probabilities=label_probabilities(reply.tokens[0]) if reply.tokens else None)

    async def explained(self, model: str, conversation: Conversation, verdict: Verdict, *, refusals: bool) -> Verdict:
        """`verdict` with its categories, and where `refusals` says so with whether the answer refuses its prompt.

        The verdict stands even where these cannot be told.
        """
        start = f"{VERDICT_PREFILL} {verdict.severity}\nCategories:"
        if verdict.severity is not Severity.SAFE:
            said = await self._go_on(model, conversation, start, REPLY_TOKENS)
            verdict = verdict.model_copy(update={"categories": said.categories})
        if refusals and kind_of(conversation) == "response":
            start = f"{start} {', '.join(verdict.categories) or None}\nRefusal:"
            said = await self._go_on(model, conversation, start, WORD_TOKENS)
            verdict = verdict.model_copy(update={"refusal": said.refusal})
        return verdict

    async def _go_on(self, model: str, conversation: Conversation, prefill: str, max_tokens: int) -> Verdict:
        """What the guard says behind `prefill`; without severity where it says nothing."""
        try:
            reply = await self._wire.complete(model, conversation, max_tokens, prefill=prefill)
        except (openai.OpenAIError, OddReply, EndpointError) as error:
            return Verdict.none(str(error))
        return parse_reply(prefill + reply.text, kind_of(conversation))
