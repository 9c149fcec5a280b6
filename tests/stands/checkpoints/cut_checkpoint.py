"""Checkpoints of the six models' real sizes with random weights, optionally with fewer layers. Needs torch.

A Gen with random weights would write noise, and tests could not follow a verdict to its reader. So one chain of tokens
is planted in the last layer: the model replies `Safety: Safe` and `Categories:None` to every question.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from guard_server.catalog import DEMO_FOLDER
from tests.stands.checkpoints.published_configs import STREAM_HEADS, config
from tests.stands.checkpoints.stream_reference import TEMPLATE, save_in_two
from training.gen.demo_tokenizer import SPECIAL

# These follow `SPECIAL` in the tokenizer of Qwen/Qwen3-0.6B, from id 151657 on. They are not special tokens.
_TAGS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
# Starts at the end of the template. Each token determines the next one, so the second colon is another token.
_CHAIN = ("\n\n", "Safety", ":", " Safe", "\n", "Categories", ":N", "one", "<|im_end|>")
# Total length of what the layers add to an embedding of length 1. Small, so that the token still counts.
_ADDED = 0.5
# The length of what the last layer adds if the chain continues: large, so that it alone decides.
_PLANTED = 8.0


def make_tokenizer(vocabulary: Path, folder: Path) -> None:
    """The published tokenizer, made from Qwen's own list of tokens: `qwen.tiktoken` in the package dashscope."""
    converter = TikTokenConverter(str(vocabulary), pattern=PRETOKENIZE_REGEX, extra_special_tokens=list(SPECIAL))
    tokenizer = converter.converted()
    tokenizer.add_tokens(list(_TAGS))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make(name: str, layers: int, tokenizer: Path, folder: Path) -> None:
    """Write the checkpoint of one of `published_configs.NAMES` with `layers` layers, in bfloat16, in two files."""
    fields = config(name) | {"num_hidden_layers": layers}
    stream = name.startswith("stream")
    generator = np.random.default_rng(0)
    weights = _backbone(fields, generator)
    if stream:
        weights |= _heads(fields, generator)
    else:
        if not fields["tie_word_embeddings"]:
            weights["lm_head.weight"] = _random(generator, *weights["model.embed_tokens.weight"].shape)
        _plant(weights, fields, Tokenizer.from_file(str(tokenizer / "tokenizer.json")))
    folder.mkdir(parents=True, exist_ok=True)
    save_in_two(folder, weights)
    (folder / "config.json").write_text(json.dumps(fields))
    template = TEMPLATE if stream else (DEMO_FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).symlink_to(tokenizer / file)


def _random(generator: np.random.Generator, rows: int, columns: int, length: float = 1.0) -> torch.Tensor:
    """A matrix whose rows have about this length. Made from random bytes: a normal distribution would take minutes."""
    values = torch.from_numpy(generator.integers(-127, 128, (rows, columns), dtype=np.int8)).to(torch.bfloat16)
    return values.mul_(length / (columns**0.5 * 127 / 3**0.5))


def _backbone(fields: dict[str, Any], generator: np.random.Generator) -> dict[str, torch.Tensor]:
    hidden, intermediate, layers = (fields[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    heads, kv_heads, width = (fields[name] for name in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    added = _ADDED / (2 * layers * hidden) ** 0.5
    weights = {"model.embed_tokens.weight": _random(generator, fields["vocab_size"], hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        weights |= {
            f"{at}.self_attn.q_proj.weight": _random(generator, heads * width, hidden),
            f"{at}.self_attn.k_proj.weight": _random(generator, kv_heads * width, hidden),
            f"{at}.self_attn.v_proj.weight": _random(generator, kv_heads * width, hidden),
            f"{at}.self_attn.o_proj.weight": _random(generator, hidden, heads * width, added),
            f"{at}.self_attn.q_norm.weight": torch.ones(width, dtype=torch.bfloat16),
            f"{at}.self_attn.k_norm.weight": torch.ones(width, dtype=torch.bfloat16),
            f"{at}.mlp.gate_proj.weight": _random(generator, intermediate, hidden),
            f"{at}.mlp.up_proj.weight": _random(generator, intermediate, hidden),
            f"{at}.mlp.down_proj.weight": _random(generator, hidden, intermediate, added),
            f"{at}.input_layernorm.weight": torch.ones(hidden, dtype=torch.bfloat16),
            f"{at}.post_attention_layernorm.weight": torch.ones(hidden, dtype=torch.bfloat16),
        }
    weights["model.norm.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
    return weights


def _heads(fields: dict[str, Any], generator: np.random.Generator) -> dict[str, torch.Tensor]:
    hidden, inner = fields["hidden_size"], fields["guard_inner_size"]
    weights = {}
    for branch in ("", "query_"):
        weights[f"{branch}risk_level_category_pre.weight"] = _random(generator, inner, hidden)
        weights[f"{branch}risk_level_category_layernorm.weight"] = torch.ones(inner, dtype=torch.bfloat16)
    for head, labels in STREAM_HEADS.items():
        weights[f"{head}_head.weight"] = _random(generator, labels, inner, length=3)
    return weights


def _plant(weights: dict[str, torch.Tensor], fields: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Give one neuron of the last layer to each step of the chain: one token activates it, and it predicts the next."""
    ids = [tokenizer.token_to_id(tokenizer.encode(text).tokens[0]) for text in _CHAIN]
    embeddings = weights["model.embed_tokens.weight"].float()
    outputs = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    mlp = f"model.layers.{fields['num_hidden_layers'] - 1}.mlp"
    for neuron, (token, following) in enumerate(pairwise(ids)):
        wakes = embeddings[token] / embeddings[token].norm()
        weights[f"{mlp}.gate_proj.weight"][neuron] = wakes
        weights[f"{mlp}.up_proj.weight"][neuron] = wakes
        # After the norm, the input of a token's own neuron is about the root of the hidden size, multiplied twice.
        points = outputs[following].float()
        weights[f"{mlp}.down_proj.weight"][:, neuron] = points / points.norm() * _PLANTED / fields["hidden_size"]


if __name__ == "__main__":
    if sys.argv[1] == "tokenizer":
        make_tokenizer(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        make(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
