"""The lean route of a Qwen3Guard-Gen served by `guard_server`: conversations in, verdicts out. See docs/api.md.

One request replaces one, two or three chat completions: the server renders and tokenises a conversation once, and
returns only the verdict. Client and server use the same schema.
"""

from typing import Annotated, Literal

import openai
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderation.conversation import Conversation, WireTurn, as_messages, kind_of
from moderation.endpoint.quick_post import QuickPost
from moderation.endpoint.replies import OddReply, read_reply
from moderation.errors import TooLong
from moderation.verdict import Category, Severity, Verdict, WireProbabilities, applicable

VERDICTS_PATH = "/guard/verdicts"
MOST_CONVERSATIONS = 64
"""Of one request."""

_OFFER_SECONDS = 2.0
# Caused by this request or temporary; any other status says that we cannot use the route.
_PASSING_REFUSALS = (400, 408, 409, 413, 422, 429)


class VerdictsRequest(BaseModel):
    """The conversations to judge: the last turn of each, with the turns before it as context."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    """One of the server's model names, so that no other model judges; None for any model."""
    conversations: list[Annotated[list[WireTurn], Field(min_length=1)]] = Field(
        min_length=1, max_length=MOST_CONVERSATIONS
    )
    refusals: bool = False
    """Whether the verdict on each answer says if it refuses its prompt."""


class WireError(BaseModel):
    """Why one conversation has no verdict; the others have theirs."""

    code: Literal["too_long", "no_verdict"]
    message: str
    limit: int | None = Field(default=None, gt=0)
    """With `too_long`: tokens that fit, template included."""


class WireVerdict(BaseModel):
    """Of one conversation: a severity, or an error."""

    severity: Severity | None = None
    probabilities: WireProbabilities | None = None
    """None if the model gives none."""
    categories: tuple[Category, ...] = ()
    refusal: bool | None = None
    prompt_tokens: int | None = Field(default=None, gt=0)
    """Of the conversation, template included."""
    error: WireError | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "WireVerdict":
        if (self.severity is None) == (self.error is None):
            raise ValueError("either a severity or an error")
        if self.severity is Severity.SAFE and self.categories:
            raise ValueError("a safe turn has no categories")
        return self


class VerdictsReply(BaseModel):
    """One entry for each conversation, in their order."""

    object: Literal["guard.verdicts"] = "guard.verdicts"
    verdicts: list[WireVerdict]


class VerdictsOffer(BaseModel):
    """The reply to GET, which shows that the route exists: some proxies reply to all addresses, with another body."""

    object: Literal["guard.verdicts"] = "guard.verdicts"
    models: list[str]
    conversations: int = MOST_CONVERSATIONS
    """Of one request."""
    context_tokens: int


class VerdictWire:
    """Uses an endpoint's client, and `post` for verdicts. On errors the caller has to use another way."""

    def __init__(self, client: openai.AsyncOpenAI, post: QuickPost) -> None:
        self._post = post
        self._probe = client.with_options(max_retries=0, timeout=_OFFER_SECONDS)

    async def offered(self, model: str) -> bool:
        """Whether the server judges with `model` over this route."""
        try:
            reply = await self._probe.get(VERDICTS_PATH, cast_to=str)
            return model in VerdictsOffer.model_validate_json(reply).models
        except (openai.OpenAIError, ValidationError):
            return False

    async def judge(self, model: str, conversation: Conversation, *, refusals: bool) -> Verdict:
        """The verdict on the last turn; without severity if the server has none.

        Raises:
            TooLong: the conversation does not fit, by the server's own count.
            OddReply: the reply is of another shape.
            openai.OpenAIError: the SDK's own errors.
            EndpointRefused: the reply is too large.
        """
        body = {"model": model, "conversations": [as_messages(conversation)], "refusals": refusals}
        verdicts = read_reply(await self._post(VERDICTS_PATH, body), VerdictsReply).verdicts
        if len(verdicts) != 1:
            raise OddReply(f"{len(verdicts)} verdicts of one conversation")
        return as_verdict(verdicts[0], conversation)


def is_passing(error: openai.OpenAIError) -> bool:
    """Whether the route may answer the next request."""
    if not isinstance(error, openai.APIStatusError):
        return True
    status = error.status_code
    return status in _PASSING_REFUSALS or (status >= 500 and status != 501)


def as_verdict(reply: WireVerdict, conversation: Conversation) -> Verdict:
    """The server's verdict on `conversation`. Raises TooLong."""
    if reply.error is None:
        kind = kind_of(conversation)
        return Verdict(
            severity=reply.severity,
            categories=applicable(reply.categories, kind),
            refusal=reply.refusal if kind == "response" else None,
            probabilities=reply.probabilities,
            prompt_tokens=reply.prompt_tokens,
        )
    if reply.error.code == "too_long":
        raise TooLong(reply.error.message, reply.error.limit)
    return Verdict.none(reply.error.message)


def as_wire(verdict: Verdict) -> WireVerdict:
    """`verdict` in the wire's schema."""
    if not verdict.reached:
        return WireVerdict(error=WireError(code="no_verdict", message=verdict.problem or "no verdict"))
    return WireVerdict(
        severity=verdict.severity,
        probabilities=verdict.probabilities,
        categories=verdict.categories,
        refusal=verdict.refusal,
        prompt_tokens=verdict.prompt_tokens,
    )
