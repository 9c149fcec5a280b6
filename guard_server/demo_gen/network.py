"""The demo guard's network: a Qwen3 of two layers, and the pass through it that training needs.

The weights are those of transformers' Qwen3ForCausalLM, which vLLM serves. The pass is our own: of the last layer only
those few places count where a reply is read, which halves the work. A test holds that both give the same.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

CONTEXT = 2048
"""Tokens; longer turns are judged in windows by whoever asks."""

_HEAD_DIM = 32
_ARCHITECTURE = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": _HEAD_DIM,
}
# Of the embeddings: small, so that no reply is certain before anything was learnt.
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
            # Each layer adds a little to what is there: what goes back into the residual stream starts at half.
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(weight, std=(0.5 if into_residual else 1.0) * weight.shape[1] ** -0.5)
    # One greedy verdict is what the guard is for; nothing else of the generation defaults fits it.
    model.generation_config.update(do_sample=False, eos_token_id=end)
    return model


def hidden(model: Any, embedded: Any, places: Any) -> Any:
    """The last hidden states at some places.

    Args:
        model: from `build`.
        embedded: (rows, length, width): embedded tokens, padded on the right, where causal attention sees no padding.
        places: (rows, wanted): for each row the places that are wanted.

    Returns:
        (rows, wanted, width), behind the last norm.
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
    """(rows, length, heads * dim) to (rows, heads, length, dim), normed and turned by place (RoPE)."""
    x = _norm(norm, x.view(*x.shape[:2], -1, _HEAD_DIM)).transpose(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def _after(layer: Any, x: Any, read: Any) -> Any:
    x = x + layer.self_attn.o_proj(read)
    normed = _norm(layer.post_attention_layernorm, x)
    mlp = layer.mlp
    return x + mlp.down_proj(functional.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
