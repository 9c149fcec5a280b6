"""Training rows as a Stream guard reads them: token ids, and the target severity at each of them.

A row has one label per answer. A judge of whole answers finds the position where the answer turns bad: the first prefix
that it finds bad together with all longer ones. This simplifies section 4.2 of Qwen3Guard's technical report, which
also samples continuations (rollouts) and asks a second judge. Imports neither torch nor transformers.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from guard_server.stream.growing_tokens import Encode, GrowingTokens, Token
from guard_server.stream.live_stream import StreamPrompt
from moderation.conversation import Conversation, Turn
from moderation.verdict import SEVERITY_ORDER, Category, Severity
from training.gen.training_rows import TrainingRow

Judge = Callable[[Sequence[Conversation]], list[Severity]]
"""One severity for the last turn of each conversation."""

_STEP = 8
"""Tokens between two judged prefixes. A short answer has four prefixes."""
_UNCERTAIN = 3
"""The first tokens of a spliced sentence have no target: it is too early to judge them."""
_SENTENCE = re.compile(r"[^.!?。！？\n]{12,160}[.!?。！？]")
_SPLICED_CHARACTERS = 500


@dataclass(frozen=True)
class PassageReader:
    """Tokenizes text like the stream endpoint does."""

    prompt: Callable[[Conversation], StreamPrompt]
    """For a conversation that ends with the user's turn: see `vllm_plugin.guard_tokenizer`."""
    encode: Encode
    """For an answer: see `stream.growing_tokens`."""
    longest: int
    """Most tokens of an answer; the rest is not read."""

    def answer(self, text: str) -> list[Token]:
        tokens = GrowingTokens(self.encode)
        tokens.feed(text, end=True)
        return tokens.settled[: self.longest]


@dataclass(frozen=True)
class Passage:
    """A conversation that ends before an answer, or with an answer, and its labels."""

    ids: list[int]
    user_end: int
    """Index in `ids` at which the last user turn is judged."""
    label: Severity
    """Of the answer as a whole, or of the prompt if there is no answer."""
    answer: tuple[Severity | None, ...]
    """Target at each token of the answer (the last tokens of `ids`); None for no target."""
    categories: tuple[Category, ...]
    """Categories of all that is not Safe; empty if they are unknown."""
    bad: tuple[int, int] | None = None
    """For a splice: start (inclusive) and stop (exclusive) of the bad sentence, in tokens of the answer."""

    @property
    def places(self) -> slice:
        """The judged positions in `ids`: the answer's tokens, or the one where the prompt is judged."""
        length = len(self.ids)
        return slice(length - len(self.answer), length) if self.answer else slice(self.user_end, self.user_end + 1)

    @property
    def levels(self) -> tuple[Severity | None, ...]:
        """Target at each of `places`; None for no target."""
        return self.answer or (self.label,)


def prompts(rows: Iterable[TrainingRow], reader: PassageReader) -> list[Passage]:
    """Passages of rows whose last turn is the user's."""
    read = [(row, reader.prompt(row.turns)) for row in rows]
    return [Passage(prompt.ids, prompt.user_end, row.severity, (), row.categories or ()) for row, prompt in read]


def answers(rows: Iterable[TrainingRow], reader: PassageReader, judge: Judge) -> list[Passage]:
    """Passages of rows whose last turn is an answer. Drops rows that the judge finds less bad than their label."""
    read = [(row, tokens) for row in rows if (tokens := reader.answer(row.turns[-1].text))]
    onsets = iter(_onsets([(row, tokens) for row, tokens in read if row.severity is not Severity.SAFE], judge))
    passages = []
    for row, tokens in read:
        onset = len(tokens) if row.severity is Severity.SAFE else next(onsets)
        if onset is not None:
            levels = [Severity.SAFE] * onset + [row.severity] * (len(tokens) - onset)
            passages.append(_passage(row, tokens, levels, reader))
    return passages


def wholes(rows: Iterable[TrainingRow], reader: PassageReader) -> list[Passage]:
    """Like `answers`, but each token has the label of the whole answer: for measuring, not for training."""
    read = [(row, tokens) for row in rows if (tokens := reader.answer(row.turns[-1].text))]
    return [_passage(row, tokens, [row.severity] * len(tokens), reader) for row, tokens in read]


def _onsets(read: Sequence[tuple[TrainingRow, Sequence[Token]]], judge: Judge) -> list[int | None]:
    """The first bad token of each answer; None if the judge finds the whole answer less bad than its label."""
    lengths = [[*range(_step(tokens), len(tokens), _step(tokens)), len(tokens)] for _, tokens in read]
    prefixes = [
        (*row.turns[:-1], row.turns[-1]._replace(text=row.turns[-1].text[: tokens[length - 1].end]))
        for (row, tokens), its in zip(read, lengths, strict=True)
        for length in its
    ]
    judged = iter(judge(prefixes))
    onsets: list[int | None] = []
    for (row, tokens), its in zip(read, lengths, strict=True):
        enough = SEVERITY_ORDER.index(row.severity)
        good = [length for length in its if SEVERITY_ORDER.index(next(judged)) < enough]
        bad = next((length for length in its if length > max(good, default=0)), None)
        # A flag needs two bad tokens in a row, so an answer that turns bad at its very end gets two as well.
        onsets.append(None if bad is None else max(0, min(bad - 1, len(tokens) - 2)))
    return onsets


def _step(tokens: Sequence[Token]) -> int:
    return max(1, min(_STEP, len(tokens) // 4))


def _passage(
    row: TrainingRow, tokens: Sequence[Token], levels: Sequence[Severity | None], reader: PassageReader
) -> Passage:
    prompt = reader.prompt(row.turns[:-1])
    ids = [*prompt.ids, *(token.id for token in tokens)]
    return Passage(ids, prompt.user_end, row.severity, tuple(levels), row.categories or ())


def splices(rows: Sequence[TrainingRow], reader: PassageReader, judge: Judge, count: int, rng: Random) -> list[Passage]:
    """Safe answers with one more sentence from another row: in half of `count` a bad one, in the other half a safe one.

    A bad sentence comes from a row labelled Unsafe, and the judge must find it Unsafe as an answer to the question of
    the safe answer. So there are fewer of these than `count` / 2.
    """
    safe = [row for row in rows if row.kind == "response" and row.severity is Severity.SAFE and not row.refusal]
    sentences = {
        severity: [
            (sentence.strip(), row.categories or ())
            for row in rows
            if row.severity is severity
            for sentence in _SENTENCE.findall(row.turns[-1].text)[:3]
        ]
        for severity in (Severity.SAFE, Severity.UNSAFE)
    }
    drawn = []
    for severity, found in sentences.items():
        for row in rng.choices(safe, k=count // 2) if found else ():
            sentence, categories = rng.choice(found)
            drawn.append((replace(row, severity=severity, categories=categories), sentence))
    seen = judge([(*row.turns[:-1], Turn("assistant", sentence)) for row, sentence in drawn])
    kept = [one for one, severity in zip(drawn, seen, strict=True) if severity is one[0].severity]
    return [passage for row, sentence in kept if (passage := _spliced(row, sentence, reader))]


def _spliced(row: TrainingRow, sentence: str, reader: PassageReader) -> Passage | None:
    before = row.turns[-1].text[:_SPLICED_CHARACTERS].rstrip()
    space = "" if sentence[0] > "\u2e80" else " "
    tokens = reader.answer(before + space + sentence)
    start = sum(token.end <= len(before) for token in tokens)
    if start + _UNCERTAIN + 2 > len(tokens):
        return None
    if row.severity is Severity.SAFE:
        return _passage(row, tokens, [Severity.SAFE] * len(tokens), reader)
    unknown: list[Severity | None] = [None] * _UNCERTAIN
    bad: list[Severity | None] = [row.severity] * (len(tokens) - start - _UNCERTAIN)
    passage = _passage(row, tokens, [Severity.SAFE] * start + unknown + bad, reader)
    return replace(passage, bad=(start, len(tokens)))
