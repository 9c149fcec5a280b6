"""`/v1/moderations` on the wire: OpenAI's fields, and additional ones of ours. See docs/api.md."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Discriminator,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from guard_server.api.error_reply import Invalid, TooLarge
from moderation.conversation import Conversation, Turn
from moderation.verdict import Severity

MAX_INPUTS = 128
"""Texts of one request: two rounds of the guard's 64 requests at a time."""

# Of the last message. If they were skipped, they would count as judged.
_NOT_READ = ("tool_calls", "function_call", "refusal", "reasoning", "reasoning_content")
_FORMS = "must be a string or a list of text parts"


class TextPart(BaseModel):
    """One of the objects that make up one content."""

    type: Literal["text"]
    text: str


def _only_text(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Reject images and other media. If they were skipped, they would count as judged."""
    try:
        return check(value)
    except ValidationError:
        raise PydanticCustomError(
            "text_part", 'must be a text part, {"type": "text", "text": "…"}: Qwen3Guard reads text only'
        ) from None


_Part = Annotated[TextPart, WrapValidator(_only_text)]
_Text = Annotated[str, Tag("(text)")]
_Parts = Annotated[list[_Part], Tag("(parts)")]
_Texts = Annotated[list[str], Tag("(texts)")]


def _form_of_content(value: Any) -> str | None:
    if isinstance(value, str):
        return "(text)"
    return "(parts)" if isinstance(value, list) else None


def _form_of_input(value: Any) -> str | None:
    form = _form_of_content(value)
    # A list of objects is one content; in any other list, each entry is a text of its own.
    return "(texts)" if form == "(parts)" and not (value and all(isinstance(one, dict) for one in value)) else form


_Content = Annotated[
    _Text | _Parts, Discriminator(_form_of_content, custom_error_type="forms", custom_error_message=_FORMS)
]
_Input = Annotated[
    _Text | _Texts | _Parts,
    Discriminator(_form_of_input, custom_error_type="forms", custom_error_message=f"{_FORMS}, or a list of strings"),
]


def _if_judged(value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Validate the content of user and assistant messages only: the others are left out."""
    return check(value) if info.data.get("role") in ("user", "assistant") else None


class ChatMessage(BaseModel):
    """One message, as in chat completions."""

    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    """Qwen3Guard's chat template has a place for the first two; messages of the others are left out."""
    content: Annotated[_Content | None, WrapValidator(_if_judged), WithJsonSchema({})] = None
    """For user and assistant: a string or a list of text parts; for other roles anything."""
    tool_calls: Any = None
    """Not judged, so not allowed in the last message, like the next four."""
    function_call: Any = None
    refusal: Any = None
    reasoning: Any = None
    reasoning_content: Any = None

    @property
    def text(self) -> str:
        """Empty if there is no content, as in a message that only calls tools."""
        return "" if self.content is None else _text_of(self.content)


class ModerationRequest(BaseModel):
    """Texts, each of which gets a result, or a conversation, whose last message gets one."""

    input: _Input | None = None
    """Text parts make up one text together, as OpenAI's do; at most 128 strings."""
    messages: list[ChatMessage] | None = None
    """In place of `input`: a conversation, oldest message first."""
    model: Any = None
    """Accepted and not used: the reply names the guard's own."""

    def conversations(self) -> list[Conversation]:
        """What is to be judged: one conversation for each result.

        Raises:
            Invalid: there is nothing, or it cannot be judged.
            TooLarge: it is too much.
        """
        if self.messages is not None:
            # OpenAI's SDK always sends an input; an empty one has no text that could be missed.
            if self.input:
                raise Invalid("send input or messages, not both", "messages")
            return [_conversation(self.messages)]
        if self.input is None:
            raise Invalid("input is missing: a string, a list of strings, or a list of text parts", "input")
        return [[Turn("user", text)] for text in _texts(self.input)]


class ModerationResult(BaseModel):
    """Of one text. Keys are OpenAI's thirteen and Qwen3Guard's nine."""

    flagged: bool
    """Whether the policy refuses the text."""
    categories: dict[str, bool]
    category_scores: dict[str, float]
    """The probability that the text is flagged, for the categories that the guard names; else 0."""
    category_applied_input_types: dict[str, list[Literal["text"]]]
    """Empty for a key that is never set, whatever the text."""
    severity: Severity
    severity_scores: dict[Severity, float] | None
    """Their probabilities; null if the guard's server gives none."""
    refusal: bool | None
    """Whether an answer refuses its prompt; null for prompts."""


class ModerationReply(BaseModel):
    """One result for each text, in their order."""

    id: str
    model: str
    results: list[ModerationResult]


def _texts(given: str | list[str] | list[TextPart]) -> list[str]:
    if not given and not isinstance(given, str):
        raise Invalid("input is an empty list", "input")
    texts = [] if isinstance(given, str) else [text for text in given if isinstance(text, str)]
    if not texts:
        return [_text_of(given)]
    if len(texts) > MAX_INPUTS:
        raise TooLarge(f"input may have {MAX_INPUTS} texts, this one has {len(texts)}: send several requests", "input")
    return texts


def _text_of(content: str | list[TextPart] | list[str]) -> str:
    """Parts are joined, one per line."""
    if isinstance(content, str):
        return content
    return "\n".join(part if isinstance(part, str) else part.text for part in content)


def _conversation(messages: list[ChatMessage]) -> Conversation:
    if not messages:
        raise Invalid("messages is empty: send a list of messages, oldest first", "messages")
    last, field = messages[-1], f"messages[{len(messages) - 1}]"
    if last.role not in ("user", "assistant"):
        raise Invalid(f"{field} is the one to judge: its role must be user or assistant", f"{field}.role")
    for name in _NOT_READ:
        if getattr(last, name):
            raise Invalid(f"{field}.{name} is not read here: send it as content to have it judged", f"{field}.{name}")
    if last.content is None:
        raise Invalid(f"{field}.content {_FORMS}", f"{field}.content")
    return [Turn(message.role, message.text) for message in messages if message.role in ("user", "assistant")]
