"""The notice that the filter sends to the refusal model, inside a request that passes through Open WebUI.

It is signed, since any API client can send extra keys, and the refusal model must not say what a client wants said.
"""

from typing import Any

from pipelines.signing import is_signed, sign

# Open WebUI hands keys that it does not know on to pipelines.
REPLY_KEY = "qwen3guard_reply"


def attach(body: dict[str, Any], text: str) -> None:
    """Let the refusal model answer this request with `text`, where that can be signed."""
    if signature := sign(text, "notice"):
        body[REPLY_KEY] = {"text": text, "signature": signature}


def attached(body: dict[str, Any]) -> str | None:
    """The text that was attached by this Pipelines server; None where there is none, or somebody else's."""
    reply = body.get(REPLY_KEY)
    if not isinstance(reply, dict) or not is_signed(reply.get("text"), reply.get("signature"), "notice"):
        return None
    return str(reply["text"])
