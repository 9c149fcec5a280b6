"""Locates, in the text of an answer, a sentence that the data marks in tokens. vLLM's /detokenize returns its text."""

import asyncio
from collections.abc import Sequence

import openai

from guard_server.evaluation.data.rows import Row

_AT_ONCE = 16


async def located(rows: Sequence[Row], url: str, key: str) -> list[Row]:
    """The rows; those whose answer has the sentence's text exactly once get a `span`.

    With another model's vocabulary the tokens give another text, which is then not found.

    Args:
        url: of the endpoint, ending in /v1. /detokenize is next to /v1, not below it.
        key: sent as a bearer token.
    """
    slots = asyncio.Semaphore(_AT_ONCE)
    async with openai.AsyncOpenAI(base_url=url, api_key=key) as client:

        async def one(row: Row) -> Row:
            if not row.sentence:
                return row
            async with slots:
                text = await _text(client, url, row.sentence)
            answer = row.conversation[-1].text
            if not text or answer.count(text) != 1:
                return row
            start = answer.index(text)
            return row.model_copy(update={"span": (start, start + len(text))})

        return await asyncio.gather(*map(one, rows))


async def _text(client: openai.AsyncOpenAI, url: str, tokens: Sequence[int]) -> str:
    """The text of `tokens`; empty if the server cannot detokenize."""
    try:
        reply = await client.post(f"{url.removesuffix('/v1')}/detokenize", cast_to=object, body={"tokens": [*tokens]})
    except openai.OpenAIError:
        return ""
    return str(reply.get("prompt", "")).strip() if isinstance(reply, dict) else ""
