"""Training rows as a Stream guard reads them: token ids, and what it should think at each of them.

A row says only of a whole answer what it is. Where an answer turns bad is told by a judge of whole answers: at the
first prefix from which on it finds every longer one bad. That simplifies section 4.2 of Qwen3Guard's technical report,
which also rolls answers out and asks a second judge. Imports neither torch nor transformers.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from guard_server.api.edge import Encode, GrowingTokens, Token
from guard_server.api.live import Prompt
from guard_server.demo_gen.rows import Row
from moderation.conversation import Conversation, Turn
from moderation.verdict import SEVERITY_ORDER, Category, Severity

Judge = Callable[[Sequence[Conversation]], list[Severity]]
"""One severity for the last turn of each conversation."""

_STEP = 8
"""Tokens between two prefixes that are judged; a short answer has four."""
_UNCERTAIN = 3
"""Tokens of a spliced sentence that are learnt neither as Safe nor as Unsafe: nobody can know yet."""
_SENTENCE = re.compile(r"[^.!?。！？\n]{12,160}[.!?。！？]")
_SPLICED_CHARACTERS = 500


@dataclass(frozen=True)
class Reader:
    """Text as the stream endpoint cuts it."""

    prompt: Callable[[Conversation], Prompt]
    """Of a conversation that ends with the user's turn: see `vllm_plugin.tokenizer.GuardTokenizer`."""
    encode: Encode
    """Of an answer: see `api.edge.Encode`."""
    longest: int
    """How many tokens of an answer are read."""

    def answer(self, text: str) -> list[Token]:
        tokens = GrowingTokens(self.encode)
        tokens.feed(text, end=True)
        return tokens.settled[: self.longest]


@dataclass(frozen=True)
class Passage:
    """A conversation up to where an answer begins, or with an answer, and its labels."""

    ids: list[int]
    user_end: int
    """Where the last user turn is judged."""
    label: Severity
    """Of the answer as a whole, or of the prompt where there is no answer."""
    answer: tuple[Severity | None, ...]
    """What each token of the answer, the last ones of `ids`, makes of it; None where nobody can know."""
    categories: tuple[Category, ...]
    """Why whatever is not Safe is not; empty where that is not known."""
    bad: tuple[int, int] | None = None
    """Of a splice: the first token of the bad sentence, and the one behind it, counted in the answer."""

    @property
    def places(self) -> slice:
        """Where in `ids` the guard is asked: at the answer's tokens, or where the prompt is judged."""
        length = len(self.ids)
        return slice(length - len(self.answer), length) if self.answer else slice(self.user_end, self.user_end + 1)

    @property
    def levels(self) -> tuple[Severity | None, ...]:
        """What is to be said at each of `places`; None where nobody can know."""
        return self.answer or (self.label,)


def prompts(rows: Iterable[Row], reader: Reader) -> list[Passage]:
    """Of rows whose last turn is the user's."""
    read = [(row, reader.prompt(row.turns)) for row in rows]
    return [Passage(prompt.ids, prompt.user_end, row.severity, (), row.categories or ()) for row, prompt in read]


def answers(rows: Iterable[Row], reader: Reader, judge: Judge) -> list[Passage]:
    """Of rows whose last turn is an answer; those that the judge does not find as bad as their label are dropped."""
    read = [(row, tokens) for row in rows if (tokens := reader.answer(row.turns[-1].text))]
    onsets = iter(_onsets([(row, tokens) for row, tokens in read if row.severity is not Severity.SAFE], judge))
    passages = []
    for row, tokens in read:
        onset = len(tokens) if row.severity is Severity.SAFE else next(onsets)
        if onset is not None:
            levels = [Severity.SAFE] * onset + [row.severity] * (len(tokens) - onset)
            passages.append(_passage(row, tokens, levels, reader))
    return passages


def wholes(rows: Iterable[Row], reader: Reader) -> list[Passage]:
    """As `answers`, with the label of the whole at each token: to measure, not to learn from."""
    read = [(row, tokens) for row in rows if (tokens := reader.answer(row.turns[-1].text))]
    return [_passage(row, tokens, [row.severity] * len(tokens), reader) for row, tokens in read]


def _onsets(read: Sequence[tuple[Row, Sequence[Token]]], judge: Judge) -> list[int | None]:
    """The first bad token of each answer; None where the judge does not find the whole answer that bad."""
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
        # Two bad tokens in a row make a flag: an answer that turns bad at its very end has them as well.
        onsets.append(None if bad is None else max(0, min(bad - 1, len(tokens) - 2)))
    return onsets


def _step(tokens: Sequence[Token]) -> int:
    return max(1, min(_STEP, len(tokens) // 4))


def _passage(row: Row, tokens: Sequence[Token], levels: Sequence[Severity | None], reader: Reader) -> Passage:
    prompt = reader.prompt(row.turns[:-1])
    ids = [*prompt.ids, *(token.id for token in tokens)]
    return Passage(ids, prompt.user_end, row.severity, tuple(levels), row.categories or ())


def splices(rows: Sequence[Row], reader: Reader, judge: Judge, count: int, rng: Random) -> list[Passage]:
    """Safe answers with one more sentence from elsewhere: half of `count` get a bad one, half of them a safe one.

    A bad sentence comes from a row labelled Unsafe and is one that the judge finds Unsafe behind the very question
    that the safe answer answers; so there are fewer of these.
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


def _spliced(row: Row, sentence: str, reader: Reader) -> Passage | None:
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
