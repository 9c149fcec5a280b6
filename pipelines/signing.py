"""Signatures for what plugins of one server tell each other inside a request, where any client could put a word in."""

import hashlib
import hmac
import os


def sign(text: str) -> str:
    """A signature that every plugin of this server can check."""
    # Pipelines' default key is public (its config.py): it must be changed for other reasons too.
    key = os.environ.get("PIPELINES_API_KEY", "0p3n-w3bu!")
    return hmac.new(key.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_signed(text: object, signature: object) -> bool:
    """Whether a plugin of this server signed `text`."""
    if not isinstance(text, str) or not isinstance(signature, str):
        return False
    return hmac.compare_digest(sign(text).encode(), signature.encode("utf-8", "surrogatepass"))
