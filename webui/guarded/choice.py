"""One choice of a model server's answer: what it says, why it ended, and what it holds next to its words."""

import json
from typing import Any

from webui.bodies import Body, listed, object_or_empty, objects_in
from webui.json_text import Found, find, is_text

CONTENT_KEYS = frozenset(("content", "refusal"))
REASONING_KEYS = frozenset(
    ("reasoning", "reasoning_content", "reasoning_details", "reasoning_text", "thinking", "thinking_blocks", "thoughts")
)
_GROWING_KEYS = CONTENT_KEYS | REASONING_KEYS
# Of these reasons, servers mean none: the answer goes on.
_NO_REASON = ("", "null", "none")
# Longer than any token; and as many alternatives as OpenAI's API gives.
_LONGEST_TOKEN, _MOST_TOKENS = 64, 20
_TOKEN_KEYS = {"token", "logprob", "bytes", "top_logprobs"}


def part_said(choice: Body) -> Body:
    """What a choice adds, by key: its delta; or its text, as in the older completions API."""
    return _said(choice.get("delta")) or _said(choice.get("text"))


def whole_said(choice: Body) -> Body:
    """What a choice says so far, by key."""
    return _said(choice.get("message"))


def finish_reason(choice: Body) -> str | None:
    """Why a choice ended; None if it goes on."""
    reason = choice.get("finish_reason")
    if not reason or (isinstance(reason, str) and reason.lower() in _NO_REASON):
        return None
    return reason if isinstance(reason, str) and not is_text(reason) else "stop"


def without_text(choice: Body, said: Body) -> Body:
    """What a choice holds next to its words, as far as it holds no words: severities, token ids, probabilities."""
    known = ("index", "delta", "message", "text", "finish_reason", "logprobs")
    others = {key: value for key, value in choice.items() if key not in known and value is not None}
    extras = {key: value for key, value in others.items() if is_wordless(find({key: value}))}
    logprobs = choice.get("logprobs")
    return {**extras, "logprobs": logprobs} if _is_about(logprobs, said) else extras


def is_wordless(found: Found) -> bool:
    """Whether nothing was found that somebody would have to judge."""
    return not found.texts and not found.media


def _said(value: Any) -> Body:
    """The role is said once, in the first chunk that goes out."""
    said = {"content": value} if isinstance(value, str) else object_or_empty(value)
    return {
        # A number is words if it is where words are expected.
        key: json.dumps(item) if isinstance(item, int | float) and key in _GROWING_KEYS else item
        for key, item in said.items()
        if key != "role" and item not in (None, "", [], {})
    }


def _is_about(logprobs: Any, said: Body) -> bool:
    """Whether log-probabilities tell of what was said, and of nothing else but single tokens in its place."""
    parts = object_or_empty(logprobs)
    tokens = parts.get("content")
    if not isinstance(tokens, list) or parts.get("refusal") or not parts.keys() <= {"content", "refusal"}:
        return False
    others = [top for token in objects_in(tokens) for top in listed(token.get("top_logprobs"))]
    if len(others) > _MOST_TOKENS * len(tokens) or not all(map(_is_token, (*tokens, *others))):
        return False
    if any(len(top["token"]) > _LONGEST_TOKEN or top.get("top_logprobs") for top in others):
        return False
    texts = [value for value in said.values() if isinstance(value, str)]
    return "".join(token["token"] for token in tokens) in ("".join(texts), *texts)


def _is_token(value: Any) -> bool:
    """Whether this is a token, its probability, and its bytes and alternatives if it has any."""
    fields = object_or_empty(value)
    numbers = [fields.get("logprob"), *listed(fields.get("bytes"))]
    return (
        isinstance(fields.get("token"), str)
        and fields.keys() <= _TOKEN_KEYS
        and all(number is None or isinstance(number, int | float) for number in numbers)
    )
