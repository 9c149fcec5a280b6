"""The demo Stream guard's network: the trunk of the demo Gen and four new heads, named as in the real checkpoints.

It has the same structure as `vllm_plugin.model`, which serves it. A test checks that both give the same rows.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from guard_server.catalog import tokenizer_of
from guard_server.stream.head_labels import PUBLISHED

_INNER = 128
_DROPOUT = 0.1
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def config_of(gen: Path) -> dict[str, Any]:
    """`config.json` of a Stream guard with the trunk of the Gen in the folder `gen`."""
    config: dict[str, Any] = json.loads((gen / "config.json").read_text(encoding="utf-8"))
    for size, field, labels in PUBLISHED:
        config[size] = len(labels)
        config[field] = {str(number): label for number, label in enumerate(labels)}
    return config | {"architectures": ["Qwen3ForGuardModel"], "guard_inner_size": _INNER}


class GuardNetwork(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Computes all rows of a batch of token ids. Its parameters are named as in the checkpoint."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        trunk = Qwen3Config(**config)
        self.config = dict(config)
        self.model = Qwen3Model(trunk)
        self.dropout = nn.Dropout(_DROPOUT)
        hidden, inner = trunk.hidden_size, config["guard_inner_size"]
        for branch in ("", "query_"):
            self.add_module(f"{branch}risk_level_category_pre", nn.Linear(hidden, inner, bias=False))
            norm = nn.RMSNorm(inner, eps=trunk.rms_norm_eps)
            self.add_module(f"{branch}risk_level_category_layernorm", norm)
            for head in ("risk_level", "category"):
                size = config[f"num_{branch}{head}"]
                self.add_module(f"{branch}{head}_head", nn.Linear(inner, size, bias=False))

    @classmethod
    def from_gen(cls, gen: Path) -> "GuardNetwork":
        """A network with the trunk of the Gen in the folder `gen`, in float32, and random heads."""
        network = cls(config_of(gen))
        weights = load_file(gen / "model.safetensors")
        trunk = {
            name.removeprefix("model."): weight.float() for name, weight in weights.items() if "lm_head" not in name
        }
        network.model.load_state_dict(trunk)
        return network

    @classmethod
    def from_folder(cls, folder: Path) -> "GuardNetwork":
        """Load what `save` wrote, in float32."""
        network = cls(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        network.load_state_dict({name: w.float() for name, w in load_file(folder / "model.safetensors").items()})
        return network

    def inner(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """The input of the heads, (rows, length, inner size): "" for answers, "query_" for prompts.

        Args:
            ids: (rows, length), padded on the right, which causal attention does not see.
        """
        embedded = self.dropout(self.model.embed_tokens(ids))
        hidden = self.model(inputs_embeds=embedded).last_hidden_state
        return {branch: self._inner(hidden, branch) for branch in ("", "query_")}

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits (rows, length, labels) of the four heads, by name, in the order of a served row."""
        found = self.inner(ids).items()
        heads = [(f"{branch}{head}", inner) for branch, inner in found for head in ("risk_level", "category")]
        return {name: self.get_submodule(f"{name}_head")(inner) for name, inner in heads}

    def _inner(self, hidden: torch.Tensor, branch: str) -> torch.Tensor:
        projected = self.get_submodule(f"{branch}risk_level_category_pre")(hidden)
        normed: torch.Tensor = self.get_submodule(f"{branch}risk_level_category_layernorm")(projected)
        return normed

    def save(self, folder: Path, gen: Path) -> None:
        """Write the weights (bfloat16), the configuration, and the tokenizer of `gen`."""
        weights = {name: weight.detach().to(torch.bfloat16) for name, weight in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        text = json.dumps(self.config, indent=2, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        source, target = tokenizer_of(gen), tokenizer_of(folder)
        if source != target:
            for name in _TOKENIZER:
                shutil.copy(source / name, target)
