"""The facts about a guard's server: one immutable value, replaced as a whole."""

import time
from enum import IntEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

# These reject a prompt that is too long, and count all of it. Others may cut it silently, or not count cached tokens.
_REFUSE_LONG = ("vllm", "sglang")
# Seconds for which the facts are valid: the server at the address may be replaced or updated.
_BELIEVED = 600


class Style(IntEnum):
    """The ways to ask for verdicts, best first; if a server does not support one, the next is used."""

    ONE_TOKEN = 0
    FULL_WITH_LOGPROBS = 1
    FULL = 2


_STYLE_WORDS = {
    Style.ONE_TOKEN: "chat completions, one token for a verdict",
    Style.FULL_WITH_LOGPROBS: "chat completions, whole replies with probabilities",
    Style.FULL: "chat completions, whole replies without probabilities",
}


class ServerFacts(BaseModel):
    """The facts about one server since its models were last requested."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Incremented each time the facts are learnt anew: later findings are added only to facts of the same number."""
    learnt_at: float
    """Seconds of the monotonic clock."""
    model: str
    """The name that every request carries."""
    context_tokens: int | None = None
    """None if the server does not report it."""
    owner: str | None = None
    """The value of `owned_by`, which differs between vLLM, SGLang, llama.cpp and Ollama."""
    streams: bool = False
    """Whether it is a Qwen3Guard-Stream served by `guard_server`, which judges growing answers token by token."""
    lean: bool = False
    """Whether it is a Qwen3Guard-Gen served by `guard_server`, which has the lean route: see verdict_schema."""
    style: Style = Style.ONE_TOKEN
    """The best style that has not failed."""
    style_is_proven: bool = False
    """Whether that style gave a verdict."""
    label_ids: tuple[int, ...] | None = None
    """The first token of each label after the prefill; empty if they are unavailable or of no use, None before they
    were requested."""
    can_tokenize: bool = True
    """False after `/tokenize` has failed."""

    @property
    def dialect(self) -> str:
        """How verdicts are asked for, in words for an admin."""
        if self.streams:
            return "Qwen3Guard-Stream's own endpoint"
        if self.lean:
            return "guard_server's own route, one token for a verdict"
        return _STYLE_WORDS[self.style]

    @property
    def counts(self) -> bool:
        """Whether its counts of prompt tokens are reliable, since it rejects a prompt that is too long."""
        return self.owner in _REFUSE_LONG


class ServerRecord:
    """The newest facts about the server at one address. Findings about an earlier server are dropped."""

    def __init__(self) -> None:
        self.facts: ServerFacts | None = None
        self.model: str | None = None
        """The guard that answered last; None before the first answer, and after the server has removed that model."""
        self._learnt = 0

    @property
    def fresh(self) -> ServerFacts | None:
        """The facts, unless they are too old."""
        known = self.facts is not None and time.monotonic() - self.facts.learnt_at < _BELIEVED
        return self.facts if known else None

    def newest(self, facts: ServerFacts) -> ServerFacts:
        """These facts with what was found out about the same server since."""
        return self.facts if self.facts is not None and self.facts.number == facts.number else facts

    def replace_by(self, found: ServerFacts, before: ServerFacts | None) -> ServerFacts:
        """The facts after `found` was learnt to replace `before`: a concurrent request may have replaced it already."""
        if self.facts is before:
            self._learnt += 1
            self.facts, self.model = found.model_copy(update={"number": self._learnt}), found.model
        return self.facts or found

    def note(self, facts: ServerFacts, **found: Any) -> None:
        """Add findings about the server of `facts`."""
        if self.facts is not None and self.facts.number == facts.number:
            self.facts = self.facts.model_copy(update=found)

    def forget(self, facts: ServerFacts | None, *, model_too: bool = False) -> None:
        """Make the next request learn the facts anew; `model_too` if the server reported that the model is gone."""
        if facts is not None and self.facts is not None and self.facts.number == facts.number:
            self.facts = None
            if model_too:
                self.model = None
