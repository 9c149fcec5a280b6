"""Run by LiteLLM's own Python: asks a moderations endpoint in LiteLLM's two ways, and prints the results.

Usage: python litellm_client.py BASE_URL KEY TEXT...
"""

import asyncio
import json
import sys
from typing import Any

import litellm
from fastapi import HTTPException
from litellm.proxy.guardrails.guardrail_hooks.openai.moderations import OpenAIModerationGuardrail


def by_function(url: str, key: str, text: str) -> dict[str, Any]:
    """`litellm.moderation`, as an application calls it."""
    (result,) = litellm.moderation(input=text, api_base=url, api_key=key).results
    return {"flagged": result.flagged, "categories": result.categories}


async def by_guardrail(url: str, key: str, text: str) -> dict[str, Any]:
    """The guardrail `openai_moderation` of LiteLLM's proxy, created as from a configuration."""
    guardrail = OpenAIModerationGuardrail("moderation", api_key=key, api_base=url, event_hook="pre_call")
    try:
        await guardrail.apply_guardrail(inputs={"texts": [text]}, request_data={}, input_type="request")
    except HTTPException as error:
        return {"status": error.status_code, "detail": error.detail}
    return {"status": 200, "detail": None}


def outcome(url: str, key: str, text: str) -> dict[str, Any]:
    """The result for one text in each way."""
    found: dict[str, Any] = {}
    for name, way in (("function", by_function), ("guardrail", lambda *given: asyncio.run(by_guardrail(*given)))):
        try:
            found[name] = way(url, key, text)
        except Exception as error:
            found[name] = {"error": type(error).__name__}
    return found


if __name__ == "__main__":
    base_url, bearer, *texts = sys.argv[1:]
    print(json.dumps([outcome(base_url, bearer, text) for text in texts]))
