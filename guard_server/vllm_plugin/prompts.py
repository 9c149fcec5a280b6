"""Encodes conversations for Qwen3Guard-Gen: by the chat template, up to the beginning of the reply.

The template's own text is always the same (Qwen3Guard's has some 600 tokens). So it is tokenised once, up to places
where no tokenizer merges the text before with the text after. This is tested first, on texts that provoke a merge: the
tokens must be the same as those of the whole text.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, TypeVar

from tokenizers import Tokenizer

from moderation.conversation import Conversation, Turn, kind_of
from moderation.endpoint.prefill import VERDICT_PREFILL
from moderation.verdict import Kind, Severity

_AT_ONCE = 1024
"""Characters: up to so many are tokenised on the event loop, within a millisecond; longer text in a thread."""
# Texts that could merge with the text before or after: letters, digits, marks, signs, spaces, lines, other scripts.
_PROBES = (
    *(
        "hello",
        "a",
        "0",
        "12 3",
        ".",
        "...",
        "-",
        "'s",
        "<",
        ">",
        " x",
        "x ",
        "\nx",
        "x\n",
        "x\n\n",
        "\u0301x",
        "x\u0301",
    ),
    *("x\n", "\u0301x", "x\u0301", "你好", "。", "é", "🙂", "\u200d", "ﬁ", "مرحبا", "\u00a0x", "A\tB"),
)
_TEXT = "e7b1c3"
"""Placeholder for a turn's text when a template is tested."""

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class _Frame(NamedTuple):
    """The template's text around every conversation of one kind."""

    head: str
    head_ids: list[int]
    tail: str


class RenderedPrompt(NamedTuple):
    """One conversation, up to the beginning of the reply."""

    before: list[int]
    """Tokens."""
    rest: str
    """Text that is not tokenised yet, since the beginning of the reply may merge with it."""


class Prompts:
    """A model's tokenizer and chat template.

    Args:
        tokenizer: of `transformers`.
        template: used in place of the tokenizer's own.
        options: for the template, as in vLLM's --default-chat-template-kwargs.
    """

    def __init__(self, tokenizer: Any, template: str | None = None, options: Mapping[str, Any] | None = None) -> None:
        self._source = tokenizer
        self._template = template
        self._options = dict(options or {})
        # A copy, since `transformers` changes the truncation of its own one while others use it.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._thread = ThreadPoolExecutor(1, "guard-tokenizer")
        self._remembered = lru_cache(256)(self._encode)
        self._in_parts = False
        with suppress(Exception):
            self._in_parts = _TEXT not in self._render([Turn("user", _TEXT)])
        self._frames: dict[Kind, _Frame | None] = {kind: self._frame(kind) for kind in ("prompt", "response")}

    async def read(self, conversation: Conversation) -> RenderedPrompt:
        """`conversation` as the model reads it. Raises the template's errors."""
        size = sum(len(turn.text) for turn in conversation)
        return await self._beside_the_loop(size, self._read, conversation)

    async def tokens(self, prompt: RenderedPrompt, reply: str = "") -> list[int]:
        """The tokens of `prompt`, with `reply` as the beginning of the reply."""
        if prompt.before:
            return prompt.before + self._remembered(prompt.rest + reply)
        return await self._beside_the_loop(len(prompt.rest), self._encode, prompt.rest + reply)

    def labels(self) -> dict[Severity, int]:
        """The first token of each severity after "Safety:"; empty if these are not different tokens."""
        with suppress(Exception):
            text = self._render([Turn("user", _TEXT)]) + VERDICT_PREFILL
            before, found = self._encode(text), {}
            for severity in Severity:
                ids = self._encode(f"{text} {severity}")
                if ids[: len(before)] == before:
                    found[severity] = ids[len(before)]
            if len(set(found.values())) == len(Severity):
                return found
        return {}

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _beside_the_loop(self, size: int, work: Callable[[_Given], _Made], given: _Given) -> _Made:
        """`work(given)`, in a thread if there are many characters."""
        if size <= _AT_ONCE:
            return work(given)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, given)

    def _read(self, conversation: Conversation) -> RenderedPrompt:
        text = self._render(conversation)
        frame = self._frames[kind_of(conversation)]
        if frame is None or not _fits(frame, text):
            return RenderedPrompt([], text)
        middle = text[len(frame.head) : len(text) - len(frame.tail)]
        return RenderedPrompt(frame.head_ids + self._encode(middle), frame.tail)

    def _render(self, conversation: Conversation) -> str:
        messages = [{"role": turn.role, "content": self._content(turn.text)} for turn in conversation]
        text: str = self._source.apply_chat_template(
            messages, chat_template=self._template, tokenize=False, add_generation_prompt=True, **self._options
        )
        return text

    def _content(self, text: str) -> object:
        return [{"type": "text", "text": text}] if self._in_parts else text

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _frame(self, kind: Kind) -> _Frame | None:
        """The text that may be tokenised once; None if there is none."""
        rendered = [*self._tried(kind)]
        if not rendered:
            return None
        heads = _common_start(rendered)
        tails = _common_start([text[::-1] for text in rendered])[::-1]
        for cuts in (self._cuts, self._token_cuts):
            head = heads[: max(cuts(heads), default=0)]
            tail = tails[min(cuts(tails), default=len(tails)) :]
            frame = _Frame(head, self._encode(head), tail)
            if tail and all(self._is_safe(frame, text) for text in rendered):
                return frame
        return None

    def _tried(self, kind: Kind) -> Iterator[str]:
        contexts: tuple[list[Turn], ...] = (
            [],
            [Turn("user", "q")],
            [Turn("user", "q"), Turn("assistant", "b")],
            [Turn("assistant", "b")],
        )
        for context, probe in product(contexts, _PROBES):
            # Templates may reject an answer without a prompt, or turns that do not alternate.
            with suppress(Exception):
                yield self._render([*context, Turn("user" if kind == "prompt" else "assistant", probe)])

    def _is_safe(self, frame: _Frame, text: str) -> bool:
        if not _fits(frame, text):
            return False
        middle = text[len(frame.head) : len(text) - len(frame.tail)]
        return frame.head_ids + self._encode(middle) + self._encode(frame.tail) == self._encode(text)

    def _cuts(self, text: str) -> list[int]:
        """Places in `text` where lines or control tokens begin: these can be found from the text around them."""
        lines = [match.end() for match in re.finditer(r"\n(?=\S)", text)]
        return lines + self._token_cuts(text)

    def _token_cuts(self, text: str) -> list[int]:
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special]
        pattern = "|".join(map(re.escape, added))
        return [match.start() for match in re.finditer(pattern, text)] if pattern else []


def _fits(frame: _Frame, text: str) -> bool:
    enough = len(text) >= len(frame.head) + len(frame.tail)
    return enough and text.startswith(frame.head) and text.endswith(frame.tail)


def _common_start(texts: list[str]) -> str:
    # In sorted order, all texts begin with what the first and the last have in common.
    first, last = min(texts), max(texts)
    differs = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differs, len(first))]
