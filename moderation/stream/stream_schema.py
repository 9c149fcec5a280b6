"""The schema of the Stream wire, for client and server: see docs/guard-stream.md.

A reply of another shape is read as None, and gives no verdict: it may come from any other program.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from moderation.conversation import WireTurn
from moderation.policy import Strictness
from moderation.verdict import Category, Kind, Severity, Verdict, WireProbabilities, applicable

STREAM_PATH = "/guard/stream"

# Without an excerpt: a reply of another program may quote the key.
_UNREADABLE_STREAM = "the guard's stream could not be read: its reply is not that of a stream endpoint of this version"

_Count = Annotated[int, Field(ge=0, strict=True)]


class StreamRequest(BaseModel):
    """A client's request: the conversation once, then text as it arrives."""

    model_config = ConfigDict(extra="forbid")

    messages: list[WireTurn] | None = Field(default=None, min_length=1)
    """Opens a stream; the last message is the user's."""
    allowed_categories: list[Category] = []
    """With `messages`: tokens of these categories are not flagged."""
    id: str | None = None
    """By POST only: the stream that the text belongs to."""
    text: str = ""
    """The next part of the answer."""
    offset: int | None = Field(default=None, ge=0)
    """Position of `text` in the answer, to be checked: so a text that was sent twice is not judged twice."""
    end: bool = False
    """Whether the answer is complete with this text."""


class StreamReading(BaseModel):
    """The guard's verdict at one token."""

    severity: Severity
    category: Category | None
    """None if the severity is Safe."""
    probabilities: WireProbabilities

    @model_validator(mode="after")
    def _says_why(self) -> "StreamReading":
        if self.severity is not Severity.SAFE and self.category is None:
            raise ValueError("what is not safe has a category")
        return self

    def verdict(self, kind: Kind) -> Verdict:
        """As a verdict on the turn."""
        named = () if self.severity is Severity.SAFE or self.category is None else (self.category,)
        categories = applicable(named, kind)
        return Verdict(severity=self.severity, categories=categories, probabilities=dict(self.probabilities))


class StreamViolation(StreamReading):
    """The place at which an answer has to be refused, with the lesser severity of the two flagged tokens."""

    token: _Count
    """Index of the token in the answer (0-based)."""
    character: _Count
    """Index of that token's first character."""


class StreamCleared(BaseModel):
    """For each strictness, the index of the first character that may not be read yet."""

    strict: _Count
    loose: _Count

    def under(self, strictness: Strictness) -> int:
        return self.strict if strictness == "strict" else self.loose


class StreamViolations(BaseModel):
    """For each strictness, where the answer has to be refused; None if it need not be so far."""

    strict: StreamViolation | None
    loose: StreamViolation | None

    def under(self, strictness: Strictness) -> StreamViolation | None:
        return self.strict if strictness == "strict" else self.loose


class StreamReply(BaseModel):
    """How much of an answer is judged. All positions are code points from the answer's beginning."""

    id: str | None = None
    """By POST only: of the stream, for the next request; None if there can be no more."""
    prompt: StreamReading | None = None
    """Of the last user turn; in the first reply of a stream only."""
    received: _Count
    tokens: _Count
    """Number of tokens judged so far."""
    severity: Severity
    """Of the answer so far."""
    cleared: StreamCleared
    violations: StreamViolations
    final: bool
    """Whether this reply is final."""


class StreamOffer(BaseModel):
    """The reply to GET, which shows that the endpoint exists."""

    object: Literal["guard.stream"]
    streams: _Count
    """Number of open streams."""
    limits: dict[str, int | float]
    """Bounds of one stream, one message and one server, by name."""


class StreamDropped(BaseModel):
    """The reply to DELETE."""

    deleted: Literal[True] = True


def prompt_verdict(reply: StreamReply | None) -> Verdict:
    """The verdict on the last user turn, from the first reply of a stream."""
    if reply is None or reply.prompt is None:
        return Verdict.none(_UNREADABLE_STREAM)
    return reply.prompt.verdict("prompt")


def answer_verdict(reply: StreamReply | None, strictness: Strictness) -> Verdict:
    """The verdict on the answer so far; if it has to be refused under `strictness`, the verdict at that place."""
    if reply is None:
        return Verdict.none(_UNREADABLE_STREAM)
    found = reply.violations.under(strictness) or reply.violations.strict
    return Verdict(severity=Severity.SAFE) if found is None else found.verdict("response")
