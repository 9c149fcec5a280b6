"""Labelled turns, and the files that contain them.

The format is one JSON object per line. `messages` (role and content; the last one is judged) and `label` are required;
`lang`, `categories`, `cat_origin`, `refusal`, `split`, `task`, `unsafe_start` and `unsafe_end` are optional. Other
fields are ignored.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guard_server.errors import UnreadableData
from moderation.conversation import Conversation, Turn, kind_of
from moderation.verdict import Category, Kind, Severity


class Question(NamedTuple):
    """The question to a guard for one row."""

    conversation: Conversation
    refusal: bool
    """Whether to ask also if the answer refuses its prompt."""
    two_readings: bool = True
    """Whether to judge the turn also with its obfuscation undone, like the filter. Stream has one reading only."""

    @property
    def key(self) -> str:
        """A hash. Questions with equal keys have the same verdict."""
        sha = hashlib.sha256()
        for role, text in self.conversation:
            data = text.encode("utf-8", "surrogatepass")
            sha.update(f"{role}:{len(data)}:".encode())
            sha.update(data)
        return sha.hexdigest() + ("" if self.two_readings else "-visible")


class Row(BaseModel):
    """One labelled turn in its conversation."""

    model_config = ConfigDict(frozen=True)

    set: str
    """The name of its data set."""
    split: str = ""
    lang: str = "und"
    """BCP 47; "und" if the data does not say."""
    conversation: tuple[Turn, ...]
    label: Severity | None
    """None if only the refusal is known."""
    categories: frozenset[Category] = frozenset()
    """Of a harmful row; empty if they are unknown."""
    refusal: bool | None = None
    """Whether an answer refuses its prompt; None if the data does not say."""
    span: tuple[int, int] | None = None
    """The first harmful sentence of the last turn: start (inclusive) and stop (exclusive), in characters."""
    two_readings: bool = True
    """See `Question`."""
    sentence: tuple[int, ...] = ()
    """The same sentence in the model's tokens, if the data marks it so; see `sentence_places.located`."""

    @cached_property
    def key(self) -> str:
        """Equal for equal conversations, which share their verdict."""
        return self.question.key

    @property
    def task(self) -> Kind:
        return kind_of(self.conversation)

    @property
    def question(self) -> Question:
        return Question(self.conversation, self.refusal is not None, self.two_readings)


class _Message(BaseModel):
    role: Literal["user", "assistant"]
    content: str


class _DataLine(BaseModel):
    """The schema of a line."""

    messages: list[_Message] = Field(min_length=1)
    label: Severity
    lang: str = "und"
    split: str = ""
    task: Kind | None = None
    categories: list[Category] = []
    cat_origin: Literal["native", "mapped", "imputed", "none"] = "native"
    refusal: bool | None = None
    unsafe_start: int | None = None
    unsafe_end: int | None = None

    @model_validator(mode="after")
    def _judges_the_last_turn(self) -> Self:
        if self.task and self.task != kind_of(self.conversation):
            raise ValueError(f"task is {self.task!r}, but the last message is by the {self.messages[-1].role}")
        if not self.messages[-1].content.strip():
            raise ValueError("the last message is empty")
        if self.refusal is not None and kind_of(self.conversation) == "prompt":
            raise ValueError("refusal is for answers only, but the last message is by the user")
        if self.span and not 0 <= self.span[0] < self.span[1] <= len(self.messages[-1].content):
            raise ValueError("unsafe_start and unsafe_end are outside of the last message")
        return self

    @property
    def span(self) -> tuple[int, int] | None:
        if self.unsafe_start is None or self.unsafe_end is None:
            return None
        return self.unsafe_start, self.unsafe_end

    @property
    def conversation(self) -> Conversation:
        return tuple(Turn(message.role, message.content) for message in self.messages)


def read(path: Path) -> Iterator[Row]:
    """The rows of a JSON Lines file, or of all files `*.jsonl` in a folder. Each file is one set.

    Raises:
        UnreadableData: the folder has no such file, or a line is not a labelled conversation.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise UnreadableData(f"{path} has no file *.jsonl.", "Name a JSON Lines file, or a folder with such files.")
    for file in files:
        yield from _lines(file)


def _lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as stream:
        for number, text in enumerate(stream, 1):
            if not text.strip():
                continue
            try:
                line = _DataLine.model_validate_json(text)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"]))
                raise UnreadableData(
                    f"{file}, line {number}: {field + ': ' if field else ''}{first['msg']}",
                    'A line looks like {"messages": [{"role": "user", "content": "…"}], "label": "Safe"}; labels are '
                    f"{', '.join(Severity)}; docs/evaluation.md names the other fields.",
                ) from error
            # Categories that a classifier guessed are no ground truth.
            known = line.cat_origin in ("native", "mapped") and line.label is not Severity.SAFE
            yield Row(
                set=file.stem,
                split=line.split,
                lang=line.lang,
                conversation=tuple(line.conversation),
                label=line.label,
                categories=frozenset(line.categories if known else ()),
                refusal=line.refusal,
                span=line.span,
            )
