"""The notice that the filter sends to the refusal model, inside a request that passes through Open WebUI.

It is signed, since any API client can send extra keys, and the refusal model must not say what a client wants said.
"""

import hashlib
import hmac
import os
from typing import Any

# Open WebUI hands keys that it does not know on to pipelines.
_KEY = "qwen3guard_reply"


def attach(body: dict[str, Any], text: str) -> None:
    """Let the refusal model answer this request with `text`."""
    body[_KEY] = {"text": text, "signature": _sign(text)}


def attached(body: dict[str, Any]) -> str | None:
    """The text that was attached by this Pipelines server; None where there is none, or somebody else's."""
    reply = body.get(_KEY)
    if not isinstance(reply, dict):
        return None
    text, signature = reply.get("text"), reply.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        return None
    matches = hmac.compare_digest(_sign(text).encode(), signature.encode("utf-8", "surrogatepass"))
    return text if matches else None


def _sign(text: str) -> str:
    # The key that all plugins of one server share. Pipelines' default is public (its config.py): it must be changed
    # for other reasons too.
    key = os.environ.get("PIPELINES_API_KEY", "0p3n-w3bu!")
    return hmac.new(key.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
