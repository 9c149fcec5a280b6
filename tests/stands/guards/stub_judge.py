"""A judge of conversations with scripted behaviour, in place of an engine."""

import asyncio

from moderation.conversation import Conversation, kind_of
from moderation.errors import EndpointDown, TooLong
from moderation.verdict import Category, Severity, Verdict

_SURE = dict.fromkeys(Severity, 0.1)


class StubJudge:
    """Flags a turn that contains "bomb". Attributes may be changed while it runs; `asked` has all conversations."""

    def __init__(self, model: str = "Qwen/Qwen3Guard-Gen-0.6B") -> None:
        self.models = [model]
        self.context = 10240
        """In characters of the last turn here, not in tokens."""
        self.asked: list[Conversation] = []
        self.gate = asyncio.Event()
        """Verdicts wait until it is set."""
        self.gate.set()
        self.cancelled = 0

    async def judge(self, conversation: Conversation, *, refusals: bool = False) -> Verdict:
        """The text decides: "crash" makes the engine fail, "nonsense" gives no label, and "unable" is a refusal."""
        self.asked.append(conversation)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        text = conversation[-1].text
        if len(text) > self.context:
            raise TooLong(f"{len(text)} are too long", self.context)
        if "crash" in text:
            raise EndpointDown("the engine failed: provoked")
        if "nonsense" in text:
            return Verdict.none("the model's first token is no label")
        severity = Severity.UNSAFE if "bomb" in text else Severity.SAFE
        return Verdict(
            severity=severity,
            categories=(Category.VIOLENT,) if severity is Severity.UNSAFE else (),
            refusal="unable" in text if refusals and kind_of(conversation) == "response" else None,
            probabilities=_SURE | {severity: 0.8},
        )
