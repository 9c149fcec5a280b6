"""Rows as token ids with their targets, built with the same chat template that is served.

Imports neither torch nor transformers; `jinja2` only in `Encoder`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guard_server.catalog import DEMO_FOLDER
from moderation.verdict import Category, Kind, Severity
from training.gen import label_reply
from training.gen.training_rows import TrainingRow

TEMPLATE = DEMO_FOLDER / "chat_template.jinja"

# Weights in the loss. Few rows have known categories, so these count as much as severities; the fixed parts of a reply
# are easy.
_SEVERITY, _CATEGORY, _REFUSAL, _FORM = 1.0, 1.0, 0.4, 0.05
# The label's share in the target severity of a whole turn; the rest is a teacher's. With labels alone the network would
# learn where a row comes from; the teacher alone makes errors that the labels do not have.
_LABEL = 0.5


@dataclass(frozen=True)
class Example:
    """Token ids of one conversation with its reply at the end."""

    ids: list[int]
    reply: list[int]
    worth: list[float]
    """Weight of each token of the reply in the loss."""
    turn: range
    """Indexes of the judged turn in `ids`."""
    kind: Kind
    text: str
    """The judged turn."""
    instead: tuple[int, float] | None = None
    """Another possible severity of the reply (token id), and its weight."""

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
        """Tokens of a category in first place."""
        more = [token(f", {category}") for category in Category]
        self._worth = dict.fromkeys(self.severities, _SEVERITY)
        self._worth |= dict.fromkeys([*self.categories, *more, token(" None")], _CATEGORY)
        self._worth |= dict.fromkeys([token(" Yes"), token(" No")], _REFUSAL)
        form = [token(text) for text in ("Safety:", "\nCategories:", "\nRefusal:")]
        self.replies = sorted([*self._worth, *form, self._end])
        """Ids of all tokens that a reply may contain."""
        self.first_reply = self.replies[0]
        """The tokens of replies are the last ones of the vocabulary; all ids below this one are ordinary text."""

    @property
    def frame(self) -> list[int]:
        """Token ids of the template's own text around the turns."""
        empty = [self.prompt(turns) for turns in ([("user", "")], [("user", ""), ("assistant", "")])]
        return sorted({token for text in empty for token in self._tokenizer.encode(text, add_special_tokens=False).ids})

    @property
    def spelling(self) -> list[str]:
        """The text of each token of ordinary text."""
        found: list[str] = self._tokenizer.decode_batch([[token] for token in range(self.first_reply)])
        return found

    def prompt(self, turns: Sequence[tuple[str, str]]) -> str:
        return str(self._template.render(messages=[{"role": role, "content": text} for role, text in turns]))

    def rows(self, rows: Sequence[TrainingRow]) -> list[Example]:
        prompts = self._tokenizer.encode_batch([self.prompt(row.turns) for row in rows], add_special_tokens=False)
        replies = [label_reply.reply_text(row.severity, row.categories, row.refusal) for row in rows]
        encoded = self._tokenizer.encode_batch(replies, add_special_tokens=False)
        return [self._example(row, p.ids, r.ids) for row, p, r in zip(rows, prompts, encoded, strict=True)]

    def read(self, texts: Sequence[str]) -> list[Any]:
        """The tokens of each text, as a `tokenizers.Encoding`: `ids`, and `offsets` of their characters in the text."""
        found: list[Any] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return found

    def folded(self, texts: Sequence[str]) -> list[str]:
        """The texts as the tokenizer folds them."""
        found: list[str] = self._tokenizer.decode_batch([each.ids for each in self.read(texts)])
        return found

    def softened(self, examples: Sequence[Example], harms: Sequence[float]) -> list[Example]:
        """`examples` with soft targets: the label mixed with a teacher's P(Unsafe), one of `harms` for each."""
        said: dict[tuple[Kind, str], set[int]] = defaultdict(set)
        for example in examples:
            said[example.kind, example.text].add(example.reply[1])
        # If the same turn has both labels, its context decides, which the teacher does not read.
        return [
            example if len(said[example.kind, example.text]) > 1 else self._softened(example, harm)
            for example, harm in zip(examples, harms, strict=True)
        ]

    def _softened(self, example: Example, harm: float) -> Example:
        safe, _, unsafe = self.severities
        label = example.reply[1]
        if label not in (safe, unsafe):
            return example
        worth = self._worth_of(_LABEL * (label == unsafe) + (1 - _LABEL) * harm)
        other = safe + unsafe - label
        return replace(
            example, worth=[example.worth[0], worth[label], *example.worth[2:]], instead=(other, worth[other])
        )

    def framed(self, frame: Example, ids: Sequence[int], text: str, harm: float) -> Example:
        """`frame` with another judged turn, Unsafe with probability `harm`. Its reply ends after the severity."""
        before, behind = frame.ids[: frame.turn.start], frame.ids[frame.turn.stop : len(frame.ids) - len(frame.reply)]
        safe, _, unsafe = self.severities
        reply = [frame.reply[0], safe]
        worth = self._worth_of(harm)
        return Example(
            ids=[*before, *ids, *behind, *reply],
            reply=reply,
            worth=[_FORM, worth[safe]],
            turn=range(len(before), len(before) + len(ids)),
            kind=frame.kind,
            text=text,
            instead=(unsafe, worth[unsafe]),
        )

    def _worth_of(self, harm: float) -> dict[int, float]:
        """Weights of Safe and Unsafe for a turn that is Unsafe with probability `harm`."""
        safe, _, unsafe = self.severities
        return {safe: _SEVERITY * (1 - harm), unsafe: _SEVERITY * harm}

    def _example(self, row: TrainingRow, prompt: list[int], reply: list[int]) -> Example:
        if row.categories is not None:
            reply = [*reply, self._end]
        starts = [place for place, token in enumerate(prompt) if token == self._start]
        # The judged turn is the third from the end, before the question to the guard and its reply. Its role is one
        # token.
        first = starts[-3] + 2
        worth = [self._worth.get(token, _FORM) for token in reply]
        turn = range(first, prompt.index(self._end, first))
        return Example([*prompt, *reply], reply, worth, turn, row.kind, row.turns[-1].text)
