"""The lean wire to a Qwen3Guard-Gen behind `guard_server`: conversations in, verdicts out, as docs/api.md has it.

One request of its own kind instead of a chat completion, or two or three of them: the server renders and tokenises a
conversation once, and sends back no more than the verdict. The schema is used by both ends.
"""

from typing import Annotated, Literal

import openai
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderation.conversation import Conversation, Turn, kind_of
from moderation.errors import TooLong
from moderation.replies import OddReply, read_reply
from moderation.verdict import Category, Severity, Verdict

VERDICTS_PATH = "/guard/verdicts"
MOST_CONVERSATIONS = 64
"""Of one request."""

_OFFER_SECONDS = 2.0
# Of this request or of this moment; every other refusal says that the route is not for us.
_PASSING_REFUSALS = (400, 408, 409, 413, 422, 429)
# Rounding lets three shares of one miss it by a little.
_SHARE_ROUNDING = 0.001

_Share = Annotated[float, Field(ge=0, le=1)]


class _StrictWire(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class WireTurn(_StrictWire):
    """One message."""

    role: Literal["user", "assistant"]
    content: str


class VerdictsRequest(_StrictWire):
    """What is to be judged: the last turn of each conversation, with the turns before it as context."""

    model: str | None = None
    """One of the server's own names, so that another model's verdict is not taken for its; None for whatever it has."""
    conversations: list[Annotated[list[WireTurn], Field(min_length=1)]] = Field(
        min_length=1, max_length=MOST_CONVERSATIONS
    )
    refusals: bool = False
    """Whether to tell of each answer if it refuses its prompt."""


class WireError(BaseModel):
    """Why there is no verdict of one conversation; the others have theirs."""

    code: Literal["too_long", "no_verdict"]
    message: str
    limit: int | None = Field(default=None, gt=0)
    """With `too_long`: tokens that fit, template included."""


class WireVerdict(BaseModel):
    """Of one conversation: a severity, or an error."""

    severity: Severity | None = None
    probabilities: dict[Severity, _Share] | None = None
    """Of all three severities; None where the model gives none."""
    categories: tuple[Category, ...] = ()
    refusal: bool | None = None
    error: WireError | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "WireVerdict":
        if (self.severity is None) == (self.error is None):
            raise ValueError("either a severity or an error")
        if self.severity is Severity.SAFE and self.categories:
            raise ValueError("a safe turn has no categories")
        shares = self.probabilities
        if shares is not None and (len(shares) < len(Severity) or abs(sum(shares.values()) - 1) > _SHARE_ROUNDING):
            raise ValueError("probabilities are of all three severities, and add up to 1")
        return self


class VerdictsReply(BaseModel):
    """One entry for each conversation, in their order."""

    object: Literal["guard.verdicts"] = "guard.verdicts"
    verdicts: list[WireVerdict]


class VerdictsOffer(BaseModel):
    """What GET says: that the route is there. A page for everything, as some proxies have it, says something else."""

    object: Literal["guard.verdicts"] = "guard.verdicts"
    models: list[str]
    conversations: int = MOST_CONVERSATIONS
    """Of one request."""
    context_tokens: int


class VerdictWire:
    """Over an endpoint's client. What goes wrong is for the caller to do in another way."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        # Chat completions are the second try.
        self._client = client.with_options(max_retries=0)
        self._probe = client.with_options(max_retries=0, timeout=_OFFER_SECONDS)

    async def offered(self, model: str) -> bool:
        """Whether the server judges with `model` over this wire."""
        try:
            reply = await self._probe.get(VERDICTS_PATH, cast_to=str)
            return model in VerdictsOffer.model_validate_json(reply).models
        except (openai.OpenAIError, ValidationError):
            return False

    async def judge(self, model: str, conversation: Conversation, *, refusals: bool) -> Verdict:
        """The verdict of the last turn; one without severity where the server has none.

        Raises:
            TooLong: the conversation does not fit, by the server's own count.
            OddReply: the reply is of another shape.
            openai.OpenAIError: as the SDK has it.
            EndpointRefused: the reply is too large.
        """
        turns = [{"role": turn.role, "content": turn.text} for turn in conversation]
        body = {"model": model, "conversations": [turns], "refusals": refusals}
        verdicts = read_reply(await self._client.post(VERDICTS_PATH, cast_to=str, body=body), VerdictsReply).verdicts
        if len(verdicts) != 1:
            raise OddReply(f"{len(verdicts)} verdicts of one conversation")
        return as_verdict(verdicts[0], conversation)


def is_passing(error: openai.OpenAIError) -> bool:
    """Whether the route may well answer the next request."""
    if not isinstance(error, openai.APIStatusError):
        return True
    status = error.status_code
    return status in _PASSING_REFUSALS or (status >= 500 and status != 501)


def as_verdict(told: WireVerdict, conversation: Conversation) -> Verdict:
    """What the server says of `conversation`. Raises TooLong."""
    if told.error is None:
        return Verdict(
            severity=told.severity,
            categories=told.categories,
            refusal=told.refusal if kind_of(conversation) == "response" else None,
            probabilities=told.probabilities,
        )
    if told.error.code == "too_long":
        raise TooLong(told.error.message, told.error.limit)
    return Verdict.none(told.error.message)


def as_told(verdict: Verdict) -> WireVerdict:
    """`verdict` for the wire."""
    if not verdict.reached:
        return WireVerdict(error=WireError(code="no_verdict", message=verdict.problem or "no verdict"))
    return WireVerdict(
        severity=verdict.severity,
        probabilities=verdict.probabilities,
        categories=verdict.categories,
        refusal=verdict.refusal,
    )


def as_conversation(turns: list[WireTurn]) -> Conversation:
    """Turns as they came."""
    return [Turn(turn.role, turn.content) for turn in turns]
