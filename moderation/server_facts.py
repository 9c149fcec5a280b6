"""What is known of a guard's server: one value that never changes, and is replaced as a whole."""

from enum import IntEnum

from pydantic import BaseModel, ConfigDict


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
    style: Style = Style.ONE_TOKEN
    """The best style that has not failed."""
    style_is_proven: bool = False
    """Whether that style gave a verdict."""
    label_ids: tuple[int, ...] | None = None
    """The first token of each label behind the prefill; empty where they cannot be had or are of no use, None until
    they were asked for."""
    can_tokenize: bool = True
    """False once `/tokenize` was no help."""
