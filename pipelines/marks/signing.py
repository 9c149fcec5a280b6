"""Signatures for what plugins of one server tell each other inside a request, where any client could put a word in."""

import hashlib
import hmac
import os
from typing import Literal

Purpose = Literal["mark", "notice", "outlet"]
# The Pipelines server's own default (its config.py), which everybody can read.
_PUBLIC_KEY = "0p3n-w3bu!"
NO_KEY = (
    "PIPELINES_API_KEY is the public default or empty, so nothing can be signed: guarded models judge system prompts "
    "whoever wrote them and take tasks for chats, and refusals come in standard words. Set a key of your own, or "
    "QWEN3GUARD_SIGNING_KEY."
)


def unsigned() -> str | None:
    """What the admin should know if no key is secret; None if one is."""
    return None if _secret() else NO_KEY


def sign(text: str, purpose: Purpose) -> str | None:
    """A signature that every plugin of this server can check, for one purpose only; None where no key is secret."""
    secret = _secret()
    if not secret:
        return None
    key = hmac.digest(secret.encode("utf-8", "surrogateescape"), f"qwen3guard {purpose}".encode(), "sha256")
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_signed(text: object, signature: object, purpose: Purpose) -> bool:
    """Whether a plugin of this server signed `text` for this purpose."""
    if not isinstance(text, str) or not isinstance(signature, str):
        return False
    right = sign(text, purpose)
    return right is not None and hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass"))


def _secret() -> str | None:
    """The key of this server's own; None where everybody could know it."""
    names = ("QWEN3GUARD_SIGNING_KEY", "PIPELINES_API_KEY")
    keys = (os.environ.get(name, "").strip() for name in names)
    return next((key for key in keys if key and key != _PUBLIC_KEY), None)
