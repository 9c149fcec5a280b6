"""The demo guard's network: a Qwen3 of two layers, and its forward pass for training.

The weights are those of transformers' Qwen3ForCausalLM, which vLLM serves. The forward pass is our own: it computes the
last layer only at the few positions where a reply is read, which halves the work. A test checks that both passes give
the same result.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

CONTEXT = 2048
"""Tokens. Clients split longer turns into windows."""

_HEAD_DIM = 32
_ARCHITECTURE = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": _HEAD_DIM,
}
# Standard deviation of the initial embeddings; small, so that no reply is certain before training.
_SPREAD = 0.06


def build(tokenizer: Any) -> Any:
    """A Qwen3ForCausalLM for `tokenizer`, with random weights."""
    end = tokenizer.token_to_id("<|im_end|>")
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=CONTEXT,
        rope_theta=1_000_000.0,
        tie_word_embeddings=True,
        eos_token_id=end,
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        bos_token_id=None,
        use_cache=True,
        **_ARCHITECTURE,
    )
    model = Qwen3ForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith("embed_tokens.weight"):
            torch.nn.init.normal_(weight, std=_SPREAD)
        elif weight.ndim == 2:
            # Weights that write to the residual stream start at half, so that each layer adds only a little at first.
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(weight, std=(0.5 if into_residual else 1.0) * weight.shape[1] ** -0.5)
    # The guard writes one greedy verdict; the default generation settings do not fit that.
    model.generation_config.update(do_sample=False, eos_token_id=end)
    return model


def hidden(model: Any, embedded: Any, places: Any) -> Any:
    """The last hidden states at some positions.

    Args:
        model: from `build`.
        embedded: (rows, length, width): embedded tokens, padded on the right, which causal attention does not see.
        places: (rows, wanted): the wanted positions of each row.

    Returns:
        (rows, wanted, width), after the last norm.
    """
    x = embedded
    rows, length, width = x.shape
    cos, sin = model.model.rotary_emb(x, torch.arange(length)[None])
    for layer in model.model.layers[:-1]:
        normed = _norm(layer.input_layernorm, x)
        query, key = (_turned(n, p(normed), cos, sin) for n, p in _query_and_key(layer.self_attn))
        value = layer.self_attn.v_proj(normed).view(rows, length, -1, _HEAD_DIM).transpose(1, 2)
        read = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = _after(layer, x, read.transpose(1, 2).reshape(rows, length, -1))
    layer = model.model.layers[-1]
    normed = _norm(layer.input_layernorm, x)
    index = places[..., None].expand(-1, -1, width)
    (query_norm, query_proj), (key_norm, key_proj) = _query_and_key(layer.self_attn)
    query = _turned(query_norm, query_proj(normed.gather(1, index)), cos[0][places], sin[0][places])
    key = _turned(key_norm, key_proj(normed), cos, sin)
    value = layer.self_attn.v_proj(normed).view(rows, length, -1, _HEAD_DIM).transpose(1, 2)
    unseen = torch.arange(length) > places[:, None, :, None]
    scores = (query @ key.transpose(-1, -2) * _HEAD_DIM**-0.5).masked_fill(unseen, -torch.inf)
    read = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, places.shape[1], -1)
    return _norm(model.model.norm, _after(layer, x.gather(1, index), read))


def _norm(norm: Any, x: Any) -> Any:
    return functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _query_and_key(attention: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return (attention.q_norm, attention.q_proj), (attention.k_norm, attention.k_proj)


def _turned(norm: Any, x: Any, cos: Any, sin: Any) -> Any:
    """(rows, length, heads * dim) to (rows, heads, length, dim), normalised and rotated by position (RoPE)."""
    x = _norm(norm, x.view(*x.shape[:2], -1, _HEAD_DIM)).transpose(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def _after(layer: Any, x: Any, read: Any) -> Any:
    x = x + layer.self_attn.o_proj(read)
    normed = _norm(layer.post_attention_layernorm, x)
    mlp = layer.mlp
    return x + mlp.down_proj(functional.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
