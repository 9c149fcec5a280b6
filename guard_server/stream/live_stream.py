"""Judges one answer token by token while it grows. Independent of HTTP and of the engine."""

import asyncio
import secrets
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from guard_server.stream.confirmation_rule import TwoInARow
from guard_server.stream.growing_tokens import GrowingTokens, Token
from guard_server.stream.head_labels import Labels, TokenVerdict
from guard_server.stream.stream_errors import GuardFailed, TooMuch
from moderation.conversation import Conversation
from moderation.policy import HARMFUL, Strictness
from moderation.verdict import Category, Kind, Severity


class StreamPrompt(NamedTuple):
    """A conversation as the model reads it, up to the beginning of the answer."""

    ids: list[int]
    user_end: int
    """The index of the token that ends the last user turn: the prompt is judged at this token."""


class StreamModel(Protocol):
    """A Qwen3Guard-Stream and its tokenizer."""

    labels: Labels
    context: int
    """Tokens."""
    block: int
    """Tokens of one block of the engine's prefix cache."""

    def encode(self, texts: Sequence[str], /) -> list[list[Token]]:
        """The tokens of each text: see `growing_tokens.Encode`."""
        ...

    def prompt(self, conversation: Conversation, /) -> StreamPrompt:
        """The conversation, whose last turn is the user's, encoded with the model's chat template."""
        ...

    async def rows(self, stream: str, ids: Sequence[int], have: int) -> list[list[float]]:
        """The model's rows for the tokens from `have` on. Raises GuardFailed; may be cancelled at any time.

        Args:
            stream: a unique name; what was computed under this name is not computed again.
        """
        ...


class Violation(NamedTuple):
    """The place at which an answer has to be refused."""

    token: int
    """Index of the token in the answer (0-based)."""
    character: int
    """Index of that token's first character."""
    severity: Severity
    reading: TokenVerdict


class Progress(NamedTuple):
    """How much of an answer is judged. All positions are code points from the answer's beginning."""

    received: int
    tokens: int
    """Number of tokens judged so far."""
    cleared: dict[Strictness, int]
    """Index of the first character that may not be read yet."""
    violations: dict[Strictness, Violation | None]
    final: bool
    """Whether this is final: the answer has ended, or is refused under both strictnesses."""

    @property
    def severity(self) -> Severity:
        """Of the answer so far."""
        if self.violations["loose"]:
            return Severity.UNSAFE
        return Severity.CONTROVERSIAL if self.violations["strict"] else Severity.SAFE


# Maximum of blocks in one request, so that a long text does not delay all other streams, and so that little is lost if
# the engine preempts the request. Requests end at the end of a block: part of a block would be computed again.
_BLOCKS = 16
# Characters that are tokenised at a time: the tokenizer blocks the event loop meanwhile, and most of a text that is
# longer than the context is never judged.
_CHARACTERS = 4096


class LiveStream:
    """The state of one stream: text, tokens and verdicts. To be used by one task at a time."""

    def __init__(self, model: StreamModel, conversation: Conversation, allowed: Collection[Category] = ()) -> None:
        """Tokens of an `allowed` category count as Safe. Raises TooMuch if the conversation alone is too long."""
        self._model = model
        self._prompt = model.prompt(conversation)
        self._allowed = frozenset(allowed)
        self._name = secrets.token_hex(16)
        self._text = GrowingTokens(model.encode)
        self.received = 0
        """Characters so far."""
        # One reference per token; of the verdicts only those that explain a refusal are kept.
        self._severities: list[Severity] = []
        self._reasons: dict[Strictness, TokenVerdict] = {}
        self._rules = {strictness: TwoInARow(strictness) for strictness in HARMFUL}
        self._shown = dict.fromkeys(HARMFUL, 0)
        self._ended = False
        self._check_length()

    async def judge_prompt(self) -> TokenVerdict:
        """The verdict on the last user turn. Must be called first."""
        rows: list[list[float]] = []
        while len(rows) < len(self._prompt.ids):
            upto = self._upto(len(rows), len(self._prompt.ids))
            rows += await self._model.rows(self._name, self._prompt.ids[:upto], len(rows))
        return self._read(rows[self._prompt.user_end], "prompt")

    async def feed(self, text: str, *, end: bool = False) -> Progress:
        """Append `text` to the answer, and judge as many of its tokens as possible."""
        self.received += len(text)
        for start in range(0, len(text) or 1, _CHARACTERS):
            stop = start + _CHARACTERS
            stands = self._text.feed(text[start:stop], end=end and stop >= len(text))
            if stands < len(self._severities):
                self._judge_again_from(stands)
            self._check_length()
            while not self._refused and len(self._severities) < len(self._text.settled):
                await self._read_on()
            if self._refused:
                break
            # Let other streams run, also if the model was not asked.
            await asyncio.sleep(0)
        self._ended |= end
        return self._progress()

    @property
    def _refused(self) -> bool:
        # A token that loose flags is flagged by strict, too.
        return self._rules["loose"].violation is not None

    def _check_length(self) -> None:
        length = len(self._prompt.ids) + len(self._text.settled)
        if length > self._model.context:
            raise TooMuch(
                f"conversation and answer are longer than the guard's maximum context of {self._model.context} tokens",
                "text" if self._text.length else "messages",
            )

    async def _read_on(self) -> None:
        start = len(self._prompt.ids)
        have = start + len(self._severities)
        upto = self._upto(have, start + len(self._text.settled))
        ids = [*self._prompt.ids, *(token.id for token in self._text.settled[: upto - start])]
        for row in await self._model.rows(self._name, ids, have):
            reading = self._read(row, "response")
            severity = Severity.SAFE if reading.category in self._allowed else reading.severity
            for strictness, rule in self._rules.items():
                rule.feed(severity)
                if rule.violation == len(self._severities):
                    self._reasons[strictness] = reading
            self._severities.append(severity)

    def _read(self, row: list[float], kind: Kind) -> TokenVerdict:
        try:
            return self._model.labels.read(row, kind)
        except ValueError as error:
            raise GuardFailed(f"the model gave {error}") from error

    def _upto(self, have: int, wanted: int) -> int:
        return min(wanted, (have // self._model.block + _BLOCKS) * self._model.block)

    def _judge_again_from(self, token: int) -> None:
        del self._severities[token:]
        for strictness in HARMFUL:
            self._rules[strictness] = TwoInARow(strictness)
            for severity in self._severities:
                self._rules[strictness].feed(severity)

    def _progress(self) -> Progress:
        for strictness, rule in self._rules.items():
            # At the end no next token can confirm a flag on the last one. Text once cleared has been read already.
            passed = self._ended and rule.violation is None
            upto = self.received if passed else self._start_of(rule.cleared)
            self._shown[strictness] = max(self._shown[strictness], upto)
        violations = {strictness: self._violation(strictness) for strictness in HARMFUL}
        final = self._ended or self._refused
        return Progress(self.received, len(self._severities), dict(self._shown), violations, final)

    def _violation(self, strictness: Strictness) -> Violation | None:
        rule = self._rules[strictness]
        if rule.violation is None:
            return None
        start = self._text.settled[rule.violation].start
        return Violation(rule.violation, start, rule.severity, self._reasons[strictness])

    def _start_of(self, token: int) -> int:
        settled = self._text.settled
        return settled[token].start if token < len(settled) else self._text.settled_upto
