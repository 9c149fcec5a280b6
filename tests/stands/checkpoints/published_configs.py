"""The sizes in config.json of the six published checkpoints, as far as they are public.

Qwen3Guard-Gen has the same structure as Qwen3: its sizes are those of Qwen/Qwen3-0.6B, -4B and -8B. Of Stream's own
fields, those of the 0.6B are public (revision 419364a of Qwen/Qwen3Guard-Stream-0.6B, as programs that load it check
them); the inner size of 4B and 8B is assumed to be half of the hidden size, as in the 0.6B.
"""

from typing import Any

SIZES = ("0.6b", "4b", "8b")
NAMES = tuple(f"{kind}-{size}" for kind in ("gen", "stream") for size in SIZES)
STREAM_HEADS = {"risk_level": 3, "category": 8, "query_risk_level": 3, "query_category": 9}

_BACKBONES = {
    "0.6b": {
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "intermediate_size": 3072,
        "tie_word_embeddings": True,
    },
    "4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "intermediate_size": 9728,
        "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "intermediate_size": 12288,
        "tie_word_embeddings": False,
    },
}
_ALIKE: dict[str, Any] = {
    "model_type": "qwen3",
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "hidden_act": "silu",
    "attention_bias": False,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "torch_dtype": "bfloat16",
}


def config(name: str) -> dict[str, Any]:
    """config.json of one of `NAMES`."""
    kind, size = name.split("-")
    fields = _BACKBONES[size] | _ALIKE
    if kind == "gen":
        return fields | {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 32768}
    return fields | {
        "architectures": ["Qwen3ForGuardModel"],
        "max_position_embeddings": 8192,
        "guard_inner_size": int(fields["hidden_size"]) // 2,
        **{f"num_{head}": labels for head, labels in STREAM_HEADS.items()},
    }
