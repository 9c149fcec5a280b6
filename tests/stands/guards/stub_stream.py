"""A Qwen3Guard-Stream with scripted behaviour: the text of a token determines its label."""

import asyncio
import re
from collections.abc import Sequence

from guard_server.stream.growing_tokens import Token
from guard_server.stream.head_labels import Labels
from guard_server.stream.live_stream import StreamPrompt
from moderation.conversation import Conversation

CONFIG = {"num_risk_level": 3, "num_category": 8, "num_query_risk_level": 3, "num_query_category": 9}
# Words with these beginnings are flagged by default; the categories are Violent and Political.
UNSAFE, CONTROVERSIAL = "bad", "maybe"
_WORD = re.compile(r"\s*\S+|\s+")
_END = 0


class StubStream:
    """One token per word, with the white space before it. Records its requests."""

    context = 4096
    block = 32

    def __init__(self, unsafe: str = UNSAFE, controversial: str = CONTROVERSIAL) -> None:
        self._unsafe = unsafe
        self._flagged = (unsafe, controversial)
        self.labels = Labels.of(CONFIG)
        self._words: list[str] = ["<end>"]
        self.asked: list[tuple[str, int, int]] = []
        """For each request: the stream, the number of all tokens, the number of cached tokens."""
        self.cancelled = 0
        self.running = 0
        self.gate = asyncio.Event()
        """Verdicts wait until it is set."""
        self.gate.set()
        self.fails: BaseException | None = None

    def prompt(self, conversation: Conversation, /) -> StreamPrompt:
        ids = [number for turn in conversation for number in (*self._ids(_WORD.findall(turn.text)), _END)]
        return StreamPrompt([*ids, _END], len(ids) - 1)

    def encode(self, texts: Sequence[str], /) -> list[list[Token]]:
        found = []
        for text in texts:
            words = list(_WORD.finditer(text))
            ids = self._ids([word.group() for word in words])
            found.append([Token(number, *word.span()) for number, word in zip(ids, words, strict=True)])
        return found

    async def rows(self, stream: str, ids: Sequence[int], have: int) -> list[list[float]]:
        self.asked.append((stream, len(ids), have))
        self.running += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.fails is not None:
            raise self.fails
        return [self._row(ids[: at + 1]) for at in range(have, len(ids))]

    def _ids(self, words: Sequence[str]) -> list[int]:
        for word in words:
            if word not in self._words:
                self._words.append(word)
        return [self._words.index(word) for word in words]

    def _row(self, ids: Sequence[int]) -> list[float]:
        # The token that closes a turn gets the label of the word before it.
        at = -2 if ids[-1] == _END and len(ids) > 1 else -1
        word = self._words[ids[at]].strip()
        unsafe = word.startswith(self._unsafe)
        risk = [0.0, 4.0, 0.0] if unsafe else [0.0, 0.0, 4.0]
        risk = risk if word.startswith(self._flagged) else [4.0, 0.0, 0.0]
        category = [1.0 if number == (0 if unsafe else 3) else 0.0 for number in range(9)]
        return [*risk, *category[:8], *risk, *category]
