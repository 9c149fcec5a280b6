"""Rows as token ids with their targets, made through the very chat template that is served.

Imports neither torch nor transformers; `jinja2` only where examples are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guard_server.catalog import DEMO_FOLDER
from guard_server.demo_gen import reply
from guard_server.demo_gen.rows import Row
from moderation.verdict import Category, Kind, Severity

TEMPLATE = DEMO_FOLDER / "chat_template.jinja"

# Of the loss. Few rows have known categories, so these count as much as severities; the rest of the reply is easy.
_SEVERITY, _CATEGORY, _REFUSAL, _FORM = 1.0, 1.0, 0.4, 0.05
# Of turns that are not safe, the severity's: without it, too many safe turns of sources left out were flagged.
_HARM = 0.7


@dataclass(frozen=True)
class Example:
    """Token ids of one conversation with its reply at the end."""

    ids: list[int]
    reply: list[int]
    worth: list[float]
    """How much each token of the reply counts."""
    turn: range
    """Where the judged turn stands in `ids`."""
    kind: Kind
    instead: tuple[int, float] | None = None
    """A token that the reply may as well end with, and how much that counts."""

    @property
    def judged(self) -> list[int]:
        """Token ids of the judged turn."""
        return self.ids[self.turn.start : self.turn.stop]


class Encoder:
    """Turns rows into examples."""

    def __init__(self, tokenizer: Any, template: Path = TEMPLATE) -> None:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._tokenizer = tokenizer
        self._template = ImmutableSandboxedEnvironment().from_string(template.read_text(encoding="utf-8"))
        token = tokenizer.token_to_id
        self._start, self._end = token("<|im_start|>"), token("<|im_end|>")
        self.severities = [token(f" {severity}") for severity in Severity]
        self.vocabulary: int = tokenizer.get_vocab_size()
        self.categories = [token(f" {category}") for category in Category]
        """Of the category that is named first."""
        more = [token(f", {category}") for category in Category]
        self._worth = dict.fromkeys(self.severities, _SEVERITY)
        self._worth |= dict.fromkeys([*self.categories, *more, token(" None")], _CATEGORY)
        self._worth |= dict.fromkeys([token(" Yes"), token(" No")], _REFUSAL)
        form = [token(text) for text in ("Safety:", "\nCategories:", "\nRefusal:")]
        self.replies = sorted([*self._worth, *form, self._end])
        """Ids of all tokens that a reply may hold."""
        self.first_reply = self.replies[0]
        """They stand at the vocabulary's end: ordinary text comes before it."""

    @property
    def frame(self) -> list[int]:
        """Token ids of what the template itself writes around the turns."""
        empty = [self.prompt(turns) for turns in ([("user", "")], [("user", ""), ("assistant", "")])]
        return sorted({token for text in empty for token in self._tokenizer.encode(text, add_special_tokens=False).ids})

    def prompt(self, turns: Sequence[tuple[str, str]]) -> str:
        return str(self._template.render(messages=[{"role": role, "content": text} for role, text in turns]))

    def rows(self, rows: Sequence[Row]) -> list[Example]:
        prompts = self._tokenizer.encode_batch([self.prompt(row.turns) for row in rows], add_special_tokens=False)
        replies = [reply.reply_text(row.severity, row.categories, row.refusal) for row in rows]
        encoded = self._tokenizer.encode_batch(replies, add_special_tokens=False)
        return [self._example(row, p.ids, r.ids) for row, p, r in zip(rows, prompts, encoded, strict=True)]

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids, as folded as the tokenizer reads them."""
        found: list[str] = self._tokenizer.decode_batch([list(text) for text in texts])
        return found

    def framed(self, frame: Example, text: Sequence[int], harm: float) -> Example:
        """`frame` with another judged turn, Unsafe with probability `harm`; its reply ends after the severity."""
        before, behind = frame.ids[: frame.turn.start], frame.ids[frame.turn.stop : len(frame.ids) - len(frame.reply)]
        safe, _, unsafe = self.severities
        reply = [frame.reply[0], safe]
        turn = range(len(before), len(before) + len(text))
        return Example(
            ids=[*before, *text, *behind, *reply],
            reply=reply,
            worth=[_FORM, _SEVERITY * (1 - harm)],
            turn=turn,
            kind=frame.kind,
            instead=(unsafe, _SEVERITY * _HARM * harm),
        )

    def _example(self, row: Row, prompt: list[int], reply: list[int]) -> Example:
        if row.categories is not None:
            reply = [*reply, self._end]
        starts = [place for place, token in enumerate(prompt) if token == self._start]
        # The judged turn is the last but two: the question to the guard and its reply follow. Its role is one token.
        first = starts[-3] + 2
        worth = [self._worth.get(token, _FORM) for token in reply]
        if row.severity is not Severity.SAFE:
            worth[1] *= _HARM
        turn = range(first, prompt.index(self._end, first))
        return Example([*prompt, *reply], reply, worth, turn, row.kind)
