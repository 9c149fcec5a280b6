"""A Stream model's tokenizer, for a guard: encodes conversations with the chat template, and answers as plain text."""

import json
import secrets
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from guard_server.stream.growing_tokens import Token
from guard_server.stream.live_stream import StreamPrompt
from moderation.conversation import Conversation
from moderation.readings.invisible import visible
from moderation.readings.reading import neutralise

_TURN_END = "<|im_end|>"
"""Ends every turn in Qwen's chat template."""


class GuardTokenizer:
    """Encodes conversations and answers.

    Args:
        tokenizer: of `transformers`.
        template: used in place of the tokenizer's own.
    """

    def __init__(self, tokenizer: Any, template: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._turn_end = tokenizer.convert_tokens_to_ids(_TURN_END)
        self.encode = PlainText(tokenizer.backend_tokenizer.to_str()).encode

    def prompt(self, conversation: Conversation) -> StreamPrompt:
        """The conversation up to the place where the template would put the text of an answer."""
        # Not empty and without white space at its start: a template may treat such an answer differently.
        answer = secrets.token_hex(16)
        messages = [{"role": turn.role, "content": neutralise(turn.text)} for turn in conversation]
        text: str = self._tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=False,
        )
        ids: list[int] = self._tokenizer.encode(text.rpartition(answer)[0], add_special_tokens=False)
        return StreamPrompt(ids, len(ids) - 1 - ids[::-1].index(self._turn_end))


class PlainText:
    """The tokenizer without its added tokens: text that looks like one is plain text, as it is for a reader.

    A user may have made the model write control tokens in its answer, or hide words in it.

    Args:
        state: the tokenizer as JSON.
    """

    def __init__(self, state: str) -> None:
        plain = json.loads(state) | {"added_tokens": [], "truncation": None, "padding": None}
        self._tokenizer = Tokenizer.from_str(json.dumps(plain))

    def encode(self, texts: Sequence[str]) -> list[list[Token]]:
        """See `guard_server.stream.live_stream.StreamModel`."""
        seen = [visible(text) for text in texts]
        encodings = self._tokenizer.encode_batch([text for text, _ in seen], add_special_tokens=False)
        return [
            [
                Token(number, places[start], places[end - 1] + 1)
                for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            ]
            for encoding, (_, places) in zip(encodings, seen, strict=True)
        ]
