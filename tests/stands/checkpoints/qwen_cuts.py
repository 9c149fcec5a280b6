"""A tokenizer with the demo guard's vocabulary that splits text into words like Qwen's tokenizer."""

import json

# From Qwen/Qwen3-0.6B's tokenizer: its normalization, and how it splits text into words. Only the vocabulary differs.
QWEN_CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def like_qwens(own: str) -> str:
    """`own`, a byte-level tokenizer's JSON, with Qwen's steps from text to bytes."""
    split = {"type": "Split", "pattern": {"Regex": QWEN_CUTS}, "behavior": "Isolated", "invert": False}
    as_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    cuts = {"type": "Sequence", "pretokenizers": [split, as_bytes]}
    return json.dumps(json.loads(own) | {"normalizer": {"type": "NFC"}, "pre_tokenizer": cuts})
