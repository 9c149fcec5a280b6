"""What a server of Qwen3Guard-Gen may answer: OpenAI's shapes, strict in what is needed and lenient in the rest."""

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, WrapValidator, model_validator

from moderation.error_words import error_words

# Rounding lets a server say of a certain token that its logarithm is a little above zero.
_ROUNDING = 0.001
# The label is among the first tokens, also behind an empty think block; reading all of them takes milliseconds.
_MOST_TOKENS = 16
# No context is smaller than a reply and its template, none larger than this: what says otherwise is no length.
_CONTEXT = Field(ge=256, le=2**24)


class OddReply(ValueError):
    """A reply of another shape than OpenAI's; the text says what stands in its place, where that is known."""


def _or_none(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(value)
    except ValueError:
        return None


# Put around what can be done without: a wrong value counts as none.
_Lenient = WrapValidator(_or_none)
_Optional = Annotated[str | None, _Lenient]


def _not_boolean(value: Any) -> Any:
    """Pydantic would take True for 1."""
    if isinstance(value, bool):
        raise ValueError("a truth value is no number")
    return value


_ContextLength = Annotated[Annotated[int, _CONTEXT, BeforeValidator(_not_boolean)] | None, _Lenient]


class _LlamaCppMeta(BaseModel):
    n_ctx: _ContextLength = None


class ListedModel(BaseModel):
    """One entry of `/models`."""

    id: str = Field(min_length=1)
    owned_by: _Optional = None
    """The server's kind: vLLM, SGLang, llama.cpp and Ollama each put a word of their own."""
    max_model_len: _ContextLength = None
    meta: Annotated[_LlamaCppMeta | None, _Lenient] = None

    @property
    def context_tokens(self) -> int | None:
        """What the server serves, not what the model was made for; None where it does not tell."""
        return self.max_model_len or (self.meta.n_ctx if self.meta else None)


class ModelListing(BaseModel):
    """The reply of `/models`: a list under `data`, or the list alone, as some servers have it."""

    data: list[Annotated[ListedModel | None, _Lenient]]

    @model_validator(mode="before")
    @classmethod
    def _from_a_bare_list(cls, value: Any) -> Any:
        return {"data": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _with_models(self) -> "ModelListing":
        if self.data and not any(self.data):
            raise ValueError("no entry has an id")
        return self

    @property
    def models(self) -> list[ListedModel]:
        return [model for model in self.data if model is not None]


def _possible(logprob: float) -> float:
    if not logprob <= _ROUNDING:
        raise ValueError("no logarithm of a probability")
    return min(logprob, 0.0)


class TokenCandidate(BaseModel):
    """A token that could have come, and the logarithm of its probability (0 or less; minus infinity for never)."""

    token: str
    logprob: Annotated[float, AfterValidator(_possible)]


class ReplyToken(BaseModel):
    """A token that came; `top_logprobs` are those that could have, None if they are not sent or make no sense."""

    token: str
    top_logprobs: Annotated[list[TokenCandidate] | None, _Lenient] = None


def _beginning(value: Any) -> Any:
    return value[:_MOST_TOKENS] if isinstance(value, list) else value


class _ReplyLogprobs(BaseModel):
    content: Annotated[list[Annotated[ReplyToken | None, _Lenient]], BeforeValidator(_beginning)]


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        raise ValueError("a part without text")
    return text


def _joined(value: Any) -> Any:
    """A content may be a list of parts."""
    if isinstance(value, list):
        return "".join(map(_part_text, value))
    return "" if value is None else value


class GuardMessage(BaseModel):
    """What the guard says; a server that takes it for thoughts puts it into a field of reasoning."""

    content: Annotated[str, BeforeValidator(_joined)] = ""
    reasoning_content: _Optional = None
    reasoning: _Optional = None

    @model_validator(mode="after")
    def _says_something(self) -> "GuardMessage":
        if not self.model_fields_set:
            raise ValueError("neither content nor reasoning")
        return self

    @property
    def text(self) -> str:
        """The content where there is one, else the reasoning: Qwen3Guard has no thoughts besides its verdict."""
        said = (self.content, self.reasoning_content, self.reasoning)
        return next((text for text in said if text and text.strip()), self.content)


class GuardChoice(BaseModel):
    message: GuardMessage
    logprobs: Annotated[_ReplyLogprobs | None, _Lenient] = None


class GuardUsage(BaseModel):
    """Tokens that a request cost; 0 if it is not reported."""

    prompt_tokens: Annotated[int, Field(ge=0, le=2**31)] = 0
    completion_tokens: Annotated[int, Field(ge=0, le=2**31)] = 0


class GuardCompletion(BaseModel):
    """The reply of `/chat/completions`."""

    choices: list[GuardChoice] = Field(min_length=1, max_length=1)
    """One is asked for; of several, nobody can say which is the verdict."""
    usage: Annotated[GuardUsage | None, _Lenient] = None

    @property
    def text(self) -> str:
        return self.choices[0].message.text

    @property
    def prompt_tokens(self) -> int | None:
        return self.usage.prompt_tokens or None if self.usage else None

    @property
    def tokens(self) -> list[ReplyToken]:
        """The first ones, up to one that makes no sense, with what else could have come; empty if it is not sent."""
        logprobs = self.choices[0].logprobs
        found: list[ReplyToken] = []
        for token in logprobs.content if logprobs else ():
            if token is None:
                break
            found.append(token)
        return found

    @property
    def first_token(self) -> str:
        """As it was generated: a server may take the space before it from the text."""
        return self.tokens[0].token if self.tokens else self.text


class TokenCount(BaseModel):
    """What vLLM's `/tokenize` says of a conversation; llama.cpp answers any body with 200, and counts nothing."""

    count: Annotated[int, Field(gt=0, le=2**31), BeforeValidator(_not_boolean)]


class TokenIds(BaseModel):
    """What vLLM's `/tokenize` says of a short text."""

    tokens: list[int] = Field(min_length=1)


_Shape = TypeVar("_Shape", bound=BaseModel)


def read_reply(text: str, shape: type[_Shape]) -> _Shape:
    """A body as `shape`. Raises OddReply."""
    try:
        return shape.model_validate_json(text)
    except ValidationError:
        pass
    try:
        # Pydantic's own parser reads no byte order mark and no halves of characters.
        body = json.loads(text.removeprefix("\ufeff"))
        return shape.model_validate(body)
    except ValidationError:
        # Some proxies answer 200 and say in the body what went wrong.
        raise OddReply(error_words(body)) from None
    except (ValueError, RecursionError):
        raise OddReply from None
