"""How real model servers stream: the same answer in the format of each, based on documentation and public reports."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Chunk = dict[str, Any]
HEAD: Chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
SEVERITIES = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
SIGNATURE = "aB3/" * 40


def chunk(delta: Chunk, finish: str | None = None, *, number: int = 0, **choice: Any) -> Chunk:
    return {**HEAD, "choices": [{"index": number, "delta": delta, "finish_reason": finish, **choice}]}


def _plain(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    yield chunk({"role": "assistant", "content": ""})
    yield from (chunk({"reasoning_content": part}) for part in reasoning)
    yield from (chunk({"content": part}) for part in content)
    yield chunk({}, "stop")


def _azure(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    results = [{"prompt_index": 0, "content_filter_results": SEVERITIES}]
    yield {**HEAD, "choices": [], "prompt_filter_results": results}
    for key, parts in (("reasoning_content", reasoning), ("content", content)):
        yield from (chunk({key: part}, content_filter_results=SEVERITIES) for part in parts)
    yield chunk({}, "stop", content_filter_results={})


def _openai(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    yield {**chunk({"role": "assistant", "content": "", "refusal": None}), "obfuscation": "aB3xYz", "usage": None}
    yield from ({**chunk({"reasoning": part}), "obfuscation": "kL9"} for part in reasoning)
    for part in content:
        logprobs: Chunk = {
            "content": [{"token": part, "logprob": -0.1, "bytes": None, "top_logprobs": []}],
            "refusal": None,
        }
        yield {**chunk({"content": part}, logprobs=logprobs), "obfuscation": "q0W", "service_tier": "default"}
    yield {**chunk({}, "stop"), "obfuscation": "a"}


def _vllm(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    yield from (chunk({"reasoning": part, "reasoning_content": part}, token_ids=None) for part in reasoning)
    yield from (chunk({"content": part}, stop_reason=None) for part in content)
    yield chunk({}, "stop", stop_reason=None)


def _openrouter(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    more = {"provider": "Some Provider", "service_tier": None}
    for part in reasoning:
        details = [{"type": "reasoning.text", "text": part, "format": "anthropic-claude-v1", "index": 0}]
        yield {**chunk({"role": "assistant", "content": "", "reasoning": part, "reasoning_details": details}), **more}
    details = [{"type": "reasoning.text", "signature": SIGNATURE, "format": "anthropic-claude-v1", "index": 0}]
    yield {**chunk({"content": "", "reasoning": None, "reasoning_details": details}), **more}
    yield from ({**chunk({"role": "assistant", "content": part}), **more} for part in content)
    yield {**chunk({"content": ""}, "stop", native_finish_reason="end_turn"), **more}


def _litellm(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    for part in reasoning:
        blocks = [{"type": "thinking", "thinking": part, "signature": ""}]
        fields = {"provider_specific_fields": {"thinking_blocks": blocks}}
        yield chunk({"reasoning_content": part, "thinking_blocks": blocks, **fields})
    blocks = [{"type": "thinking", "thinking": "", "signature": SIGNATURE}]
    yield chunk({"reasoning_content": "", "thinking_blocks": blocks})
    yield from (chunk({"content": part, "provider_specific_fields": {"citation": None}}) for part in content)
    yield chunk({}, "stop")


def _ollama(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    yield from (chunk({"role": "assistant", "content": "", "reasoning": part}, "") for part in reasoning)
    yield from (chunk({"role": "assistant", "content": part}, "") for part in content)
    yield chunk({"role": "assistant", "content": ""}, "stop")


def _perplexity(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    so_far = ""
    sources = {"citations": ["https://a.example/calm"], "search_results": [{"title": "A calm page", "url": "x"}]}
    for key, parts in (("reasoning_content", reasoning), ("content", content)):
        for part in parts:
            so_far += part if key == "content" else ""
            yield {**chunk({key: part}, message={"role": "assistant", "content": so_far}), **sources}
    yield {**chunk({}, "stop", message={"role": "assistant", "content": so_far}), **sources}


def _mistral(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    for part in reasoning:
        yield chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": part}]}]})
    yield from (chunk({"content": part}) for part in content)
    yield chunk({}, "stop")


def _typed(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    yield from (chunk({"type": "reasoning", "reasoning": part, "id": "r_1"}) for part in reasoning)
    yield from (chunk({"type": "text", "content": part, "id": "m_1", "severity": "low"}) for part in content)
    yield chunk({}, "stop")


def _whole_messages(reasoning: Iterable[str], content: Iterable[str]) -> Iterator[Chunk]:
    so_far: Chunk = {"role": "assistant"}
    for key, parts in (("reasoning_content", reasoning), ("content", content)):
        for part in parts:
            so_far = {**so_far, key: so_far.get(key, "") + part}
            yield {**HEAD, "choices": [{"index": 0, "message": so_far, "finish_reason": None}]}
    yield {**HEAD, "choices": [{"index": 0, "message": so_far, "finish_reason": "stop"}]}


DIALECTS: dict[str, Callable[[Iterable[str], Iterable[str]], Iterator[Chunk]]] = {
    "plain": _plain,
    "azure": _azure,
    "openai": _openai,
    "vllm": _vllm,
    "openrouter": _openrouter,
    "litellm": _litellm,
    "ollama": _ollama,
    "perplexity": _perplexity,
    "mistral": _mistral,
    "typed": _typed,
    "whole messages": _whole_messages,
}


def spoken(dialect: str, content: str, *, reasoning: str = "", size: int = 4) -> list[Chunk]:
    """An answer in the format of one server, in parts of `size` characters."""
    parts = [[text[at : at + size] for at in range(0, len(text), size)] for text in (reasoning, content)]
    return list(DIALECTS[dialect](*parts))
