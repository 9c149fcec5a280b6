"""A verdict in one generated token, from a server whose chat template takes how the reply begins."""

from collections.abc import Awaitable, Callable

import openai

from moderation.conversation import Conversation, kind_of
from moderation.endpoint.completion_schema import CompletionWire
from moderation.endpoint.prefill import VERDICT_PREFILL, label_probabilities, severity_after_prefill
from moderation.endpoint.replies import OddReply
from moderation.errors import EndpointError
from moderation.verdict import Kind, Severity, Verdict, parse_reply

REPLY_TOKENS = 128
"""A verdict with many categories is 37 tokens of Qwen's vocabulary; a smaller vocabulary may need more."""
# OpenAI's maximum: enough to include all three labels if the ids of their tokens are unknown.
TOP_LOGPROBS = 20
# "Yes" and "No" are one token each in Qwen's vocabulary; a smaller vocabulary may need more.
WORD_TOKENS = 4


class OneTokenVerdicts:
    """Uses `wire`; does not convert its errors."""

    def __init__(self, wire: CompletionWire) -> None:
        self._wire = wire

    async def label(self, model: str, conversation: Conversation, ids: tuple[int, ...]) -> Verdict | None:
        """The severity; None if the server does not honour the prefill.

        Args:
            model: its name.
            conversation: its last turn is judged.
            ids: the first tokens of the three labels; empty if these are unknown.
        """
        wanted = {"logprob_token_ids": ids} if ids else {"top_logprobs": TOP_LOGPROBS}
        reply = await self._wire.complete(model, conversation, 1, prefill=VERDICT_PREFILL, logprobs=True, **wanted)
        severity = severity_after_prefill(reply.first_token)
        if severity is None:
            return None
        probabilities = label_probabilities(reply.tokens[0]) if reply.tokens else None
        return Verdict(severity=severity, probabilities=probabilities, prompt_tokens=reply.prompt_tokens)

    async def explained(self, model: str, conversation: Conversation, verdict: Verdict, *, refusals: bool) -> Verdict:
        """See `with_explanation`."""

        async def go_on(start: str, most: int) -> str:
            try:
                return (await self._wire.complete(model, conversation, most, prefill=start)).text
            except (openai.OpenAIError, OddReply, EndpointError):
                return ""

        return await with_explanation(verdict, kind_of(conversation), go_on, refusals=refusals)


async def with_explanation(
    verdict: Verdict, kind: Kind, go_on: Callable[[str, int], Awaitable[str]], *, refusals: bool
) -> Verdict:
    """`verdict` with its categories and, if `refusals` asks for it, whether the answer refuses its prompt.

    The verdict is valid even if these are missing.

    Args:
        verdict: a one-token verdict, with severity but without the rest.
        kind: only a response can refuse its prompt.
        go_on: what the model writes after the beginning of a reply, in at most so many tokens; empty on failure.
        refusals: whether to ask for the refusal.
    """
    start = f"{VERDICT_PREFILL} {verdict.severity}\nCategories:"
    if verdict.severity is not Severity.SAFE:
        said = parse_reply(start + await go_on(start, REPLY_TOKENS), kind)
        verdict = verdict.model_copy(update={"categories": said.categories})
    if refusals and kind == "response":
        start = f"{start} {', '.join(verdict.categories) or None}\nRefusal:"
        said = parse_reply(start + await go_on(start, WORD_TOKENS), kind)
        verdict = verdict.model_copy(update={"refusal": said.refusal})
    return verdict
