"""What is known of a guard's server: one value that never changes, and is replaced as a whole."""

import time
from enum import IntEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

# Seconds for which a server is believed to be as it was: another may have come to its address, or learnt new things.
_BELIEVED = 600


class Style(IntEnum):
    """How verdicts are asked for; a server that cannot do one is asked in the next."""

    ONE_TOKEN = 0
    FULL_WITH_LOGPROBS = 1
    FULL = 2


class ServerFacts(BaseModel):
    """Of one server, since it was last asked for its models."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Counts how often the server was learnt: what is found out later is added to facts of the same number only."""
    learnt_at: float
    """Seconds of the monotonic clock."""
    model: str
    """The name that every request carries."""
    context_tokens: int | None = None
    """None where it does not tell."""
    owner: str | None = None
    """The word under `owned_by`, which tells vLLM, SGLang, llama.cpp and Ollama apart."""
    streams: bool = False
    """Whether it is a Qwen3Guard-Stream behind `guard_server`, which judges growing answers token by token."""
    lean: bool = False
    """Whether it is a Qwen3Guard-Gen behind `guard_server`, which takes conversations as they are: see verdict_wire."""
    style: Style = Style.ONE_TOKEN
    """The best style that has not failed."""
    style_is_proven: bool = False
    """Whether that style gave a verdict."""
    label_ids: tuple[int, ...] | None = None
    """The first token of each label behind the prefill; empty where they cannot be had or are of no use, None until
    they were asked for."""
    can_tokenize: bool = True
    """False once `/tokenize` was no help."""


class ServerRecord:
    """The newest facts of the server at one address; what is noted of another server than theirs is dropped."""

    def __init__(self) -> None:
        self.facts: ServerFacts | None = None
        self.model: str | None = None
        """The name of the guard that answered last; None until one did, and once the server has it no more."""
        self._learnt = 0

    @property
    def fresh(self) -> ServerFacts | None:
        """The facts, unless they were learnt long ago."""
        known = self.facts is not None and time.monotonic() - self.facts.learnt_at < _BELIEVED
        return self.facts if known else None

    def newest(self, facts: ServerFacts) -> ServerFacts:
        """With what was found out of the same server since."""
        return self.facts if self.facts is not None and self.facts.number == facts.number else facts

    def replace_by(self, found: ServerFacts, before: ServerFacts | None) -> ServerFacts:
        """What is known now that `found` was learnt in place of `before`: another turn may have learnt it meanwhile."""
        if self.facts is before:
            self._learnt += 1
            self.facts, self.model = found.model_copy(update={"number": self._learnt}), found.model
        return self.facts or found

    def note(self, facts: ServerFacts, **found: Any) -> None:
        """Something more is known of the server of `facts`."""
        if self.facts is not None and self.facts.number == facts.number:
            self.facts = self.facts.model_copy(update=found)

    def forget(self, facts: ServerFacts | None, *, model_too: bool = False) -> None:
        """Let the next request learn the server anew; `model_too` where it said that it has that model no more."""
        if facts is not None and self.facts is not None and self.facts.number == facts.number:
            self.facts = None
            if model_too:
                self.model = None
