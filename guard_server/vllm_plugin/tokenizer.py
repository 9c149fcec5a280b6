"""A Stream model's tokenizer, as a guard needs it: conversations by the chat template, answers as plain text."""

import json
import secrets
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from guard_server.api.edge import Token
from guard_server.api.live import Prompt
from moderation.conversation import Conversation
from moderation.invisible import visible
from moderation.readings import neutralise

_TURN_END = "<|im_end|>"
"""Closes every turn in Qwen's chat template."""


class GuardTokenizer:
    """Both ways of reading text.

    Args:
        tokenizer: of `transformers`, with its chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._turn_end = tokenizer.convert_tokens_to_ids(_TURN_END)
        self.encode = PlainText(tokenizer.backend_tokenizer.to_str()).encode

    def prompt(self, conversation: Conversation) -> Prompt:
        """The conversation up to where the answer begins, which is where the template would put an answer's text."""
        # Of this length, because a template may treat an answer as it likes if it begins with white space or is empty.
        answer = secrets.token_hex(16)
        messages = [{"role": turn.role, "content": neutralise(turn.text)} for turn in conversation]
        text: str = self._tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}], tokenize=False, add_generation_prompt=False
        )
        ids: list[int] = self._tokenizer.encode(text.rpartition(answer)[0], add_special_tokens=False)
        return Prompt(ids, len(ids) - 1 - ids[::-1].index(self._turn_end))


class PlainText:
    """The tokenizer without its added tokens: what looks like one is text like any other. It sees what a reader sees.

    An answer is written by a model that may have been talked into writing control tokens, or into hiding words.

    Args:
        state: the tokenizer as JSON.
    """

    def __init__(self, state: str) -> None:
        plain = json.loads(state) | {"added_tokens": [], "truncation": None, "padding": None}
        self._tokenizer = Tokenizer.from_str(json.dumps(plain))

    def encode(self, texts: Sequence[str]) -> list[list[Token]]:
        """See `guard_server.api.live.StreamModel`."""
        seen = [visible(text) for text in texts]
        encodings = self._tokenizer.encode_batch([text for text, _ in seen], add_special_tokens=False)
        return [
            [
                Token(number, places[start], places[end - 1] + 1)
                for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            ]
            for encoding, (_, places) in zip(encodings, seen, strict=True)
        ]
