"""Writes the demo guard as GGUF, for a real llama.cpp. In its environment: `python demo_gguf.py FOLDER TOKENIZER OUT`.

The demo guard's tokenizer.json normalizes text first (lower case, no punctuation, each number a zero); llama.cpp does
not. So the chat template in the file does it, for letters and signs of plain English and Chinese, and puts a space
before each word; GPT-2's pre-tokenizer then gives the same tokens. Words with combining marks (Hindi, Thai) are still
split differently, and compatibility forms (fullwidth letters) stay.
"""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType

_FOLD = r"""{%- macro fold(text) -%}
{%- set ns = namespace(text=' ' ~ (text | lower) ~ ' ') -%}
{%- for sign in ["'", '’'] -%}{%- set ns.text = ns.text | replace(sign, '') -%}{%- endfor -%}
{%- for digit in ['1', '2', '3', '4', '5', '6', '7', '8', '9'] -%}
{%- set ns.text = ns.text | replace(digit, '0') -%}
{%- endfor -%}
{%- for sign in SIGNS -%}{%- set ns.text = ns.text | replace(sign, ' ') -%}{%- endfor -%}
{%- for _ in [1, 2, 3, 4, 5, 6, 7, 8] -%}{%- set ns.text = ns.text | replace('00', '0') -%}{%- endfor -%}
{%- set ns.text = ns.text | replace('0', ' 0 ') -%}
{%- for _ in [1, 2, 3, 4, 5, 6, 7, 8] -%}{%- set ns.text = ns.text | replace('  ', ' ') -%}{%- endfor -%}
{{- ' ' ~ (ns.text | trim) if ns.text | trim else '' -}}
{%- endmacro -%}
"""
_SIGNS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\n\t\r，。！？、：；（）《》“”…—'
_TURNS = r"""{%- for turn in messages -%}
{{- '<|im_start|> ' ~ ('assistant' if turn.role == 'assistant' else 'user') ~ fold(turn.content) ~ '<|im_end|>' -}}
{%- endfor -%}
{%- set kind = 'answer' if messages[-1].role == 'assistant' else 'prompt' -%}
{{- '<|im_start|> user judge the ' ~ kind ~ ' above<|im_end|>' -}}
{{- '<|im_start|> assistant<think></think>' -}}
"""
# In the same place as for the one-token verdicts of `guard_server`.
_PREFILL = "{{- verdict_prefill | default('') -}}"
_LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def chat_template(*, prefill: bool) -> str:
    """The template in the file; with `prefill`, a request may set the beginning of the reply."""
    return _FOLD.replace("SIGNS", json.dumps(list(_SIGNS), ensure_ascii=False)) + _TURNS + (_PREFILL if prefill else "")


def write(folder: Path, tokenizer_folder: Path, out: Path, *, prefill: bool) -> None:
    """The checkpoint in `folder` as one GGUF file, with weights in 32 bits."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    writer = GGUFWriter(out, "qwen3")
    writer.add_name("qwen3guard-demo")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_file_type(0)
    _add_tokenizer(writer, config, tokenizer)
    writer.add_chat_template(chat_template(prefill=prefill))
    for name, tensor in _tensors(folder / "model.safetensors"):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    tokens = [f"[PAD{number}]" for number in range(config["vocab_size"])]
    types = [TokenType.UNUSED] * config["vocab_size"]
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number], types[number] = token, TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def _tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """All tensors of a safetensors file in bfloat16, under llama.cpp's names, in 32 bits."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    for name, tensor in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in tensor["data_offsets"])
        # A bfloat16 is the upper half of a float32.
        halves = np.frombuffer(data[start:end], dtype="<u2").astype("<u4") << 16
        yield _renamed(name), halves.view("<f4").reshape(tensor["shape"])


def _renamed(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:4]), prefill="--prefill" in sys.argv)
