"""Qwen3Guard-Stream in plain transformers, and checkpoints of it with random weights. Needs torch.

The reference for the model on vLLM. The two share no code.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn.functional import linear
from transformers import Qwen3Config, Qwen3Model

from guard_server.catalog import DEMO_FOLDER, DEMO_TOKENIZER
from tests.stands.checkpoints.published_configs import STREAM_HEADS as HEADS
from tests.stands.checkpoints.qwen_cuts import like_qwens

_VOCABULARY: int = json.loads((DEMO_FOLDER / "config.json").read_text(encoding="utf-8"))["vocab_size"]
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.role == 'assistant' and loop.last -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{{- message.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
)
SEVERITIES = ("Safe", "Unsafe", "Controversial")
EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    """The sizes of a checkpoint; the default is tiny."""

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 160
    inner: int = 48
    vocabulary: int = _VOCABULARY
    context: int = 2048
    tied: bool = True
    dtype: str = "float32"
    safe: float = 0.8
    """The share of tokens that the random model finds Safe, so that answers are not refused at their beginning."""
    seed: int = 0


def make(folder: Path, shape: Shape | None = None) -> None:
    """Write a checkpoint with random weights: in two files, of a model type that is unknown to transformers."""
    shape = shape or Shape()
    torch.manual_seed(shape.seed)
    fields = {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": EPSILON,
        "tie_word_embeddings": shape.tied,
    }
    backbone = Qwen3Model(Qwen3Config(**fields, rope_theta=1_000_000)).eval()
    for parameter in backbone.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    with torch.no_grad():
        # As large as what the layers add, and with a direction that all tokens share, which `_calm` uses.
        backbone.embed_tokens.weight.normal_().add_(2 * torch.randn(shape.hidden))
    weights = {f"model.{name}": tensor for name, tensor in backbone.state_dict().items()}
    for branch in ("", "query_"):
        weights[f"{branch}risk_level_category_pre.weight"] = torch.randn(shape.inner, shape.hidden) / shape.hidden**0.5
        weights[f"{branch}risk_level_category_layernorm.weight"] = 1 + torch.randn(shape.inner) / 10
    for name, size in HEADS.items():
        weights[f"{name}_head.weight"] = 3 * torch.randn(size, shape.inner) / shape.inner**0.5
    if not shape.tied:
        weights["lm_head.weight"] = torch.randn(shape.vocabulary, shape.hidden)
    _calm(weights, backbone, shape)

    folder.mkdir(parents=True, exist_ok=True)
    dtype = getattr(torch, shape.dtype)
    save_in_two(folder, {name: tensor.detach().to(dtype).contiguous() for name, tensor in weights.items()})
    config = {
        **fields,
        "rope_theta": 1_000_000,
        "architectures": ["Qwen3ForGuardModel"],
        "model_type": "a_type_of_its_own",
        # Names code that does not exist: a program that runs a checkpoint's own code fails.
        "auto_map": {"AutoConfig": "configuration_guard.GuardConfig", "AutoModel": "modeling_guard.GuardModel"},
        "guard_inner_size": shape.inner,
        "dtype": shape.dtype,
        **{f"num_{name}": size for name, size in HEADS.items()},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    shutil.copy(DEMO_TOKENIZER / "tokenizer_config.json", folder)
    own = (DEMO_TOKENIZER / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(like_qwens(own), encoding="utf-8")
    (folder / "shape.json").write_text(json.dumps(asdict(shape)))


def save_in_two(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Weights in two files and their index, like the checkpoints of the larger models."""
    halves: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
    for number, (name, tensor) in enumerate(weights.items()):
        halves[number % 2][name] = tensor
    index: dict[str, str] = {}
    for number, half in enumerate(halves, 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file(half, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(half, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _calm(weights: dict[str, torch.Tensor], backbone: Qwen3Model, shape: Shape) -> None:
    """Raise logits along the direction that all tokens share, until the wanted share of tokens is Safe.

    About half of the others are then Unsafe and half Controversial, so that answers get all three severities.
    """
    ids = torch.randint(0, shape.vocabulary, (4, 128))
    with torch.no_grad():
        hidden = backbone(ids).last_hidden_state
    for branch in ("", "query_"):
        inner = _inner(weights, branch, hidden).flatten(0, 1)
        shared = inner.mean(0) / inner.mean(0).norm()
        head = weights[f"{branch}risk_level_head.weight"]
        _raise(head[1:], inner, shared, 0.5)
        _raise(head, inner, shared, shape.safe)


def _raise(head: torch.Tensor, inner: torch.Tensor, shared: torch.Tensor, wanted: float) -> None:
    """Move the first row of `head` along `shared` until it wins for the wanted share of `inner`."""
    original, low, high = head[0].clone(), -1000.0, 1000.0
    for _ in range(40):
        head[0] = original + (low + high) / 2 * shared
        share = (linear(inner, head).argmax(-1) == 0).float().mean().item()
        low, high = (low, (low + high) / 2) if share > wanted else ((low + high) / 2, high)


def _inner(weights: dict[str, torch.Tensor], branch: str, hidden: torch.Tensor) -> torch.Tensor:
    projected = linear(hidden, weights[f"{branch}risk_level_category_pre.weight"]).float()
    normed = projected * torch.rsqrt(projected.pow(2).mean(-1, keepdim=True) + EPSILON)
    return normed.to(hidden.dtype) * weights[f"{branch}risk_level_category_layernorm.weight"]


class Reference:
    """A loaded checkpoint."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            self.weights |= {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
        fields = json.loads((folder / "config.json").read_text())
        fields = {name: value for name, value in fields.items() if name not in ("model_type", "auto_map", "dtype")}
        config = Qwen3Config(**fields, attn_implementation="sdpa")
        with torch.device("meta"):
            self.backbone = Qwen3Model(config)
        own = {name.removeprefix("model."): t for name, t in self.weights.items() if name.startswith("model.")}
        self.backbone.load_state_dict(own, assign=True)
        self.backbone.rotary_emb = type(self.backbone.rotary_emb)(config)
        self.backbone.eval()

    @torch.no_grad()
    def rows(self, ids: list[int]) -> torch.Tensor:
        """The four heads' logits side by side, at every position: one forward pass over the whole sequence."""
        hidden = self.backbone(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
        return torch.cat(
            [
                linear(_inner(self.weights, branch, hidden), self.weights[f"{branch}{head}_head.weight"])
                for branch in ("", "query_")
                for head in ("risk_level", "category")
            ],
            dim=-1,
        )

    def verdict(self, tokenizer: Tokenizer, prompt: str, answer: str) -> dict[str, object]:
        """The verdict on one prompt and one whole answer, by the rule of the technical report, section 4."""
        before = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        ids = tokenizer.encode(before, add_special_tokens=False).ids
        end = tokenizer.token_to_id("<|im_end|>")
        closing = max(at for at, token in enumerate(ids) if token == end)
        tokens = tokenizer.encode(answer, add_special_tokens=False)
        risk, _, query_risk, _ = self.rows(ids + tokens.ids).split(list(HEADS.values()), dim=-1)
        levels = [SEVERITIES[level] for level in risk[len(ids) :].argmax(-1).tolist()]
        found: dict[str, object] = {
            "prompt": dict(zip(SEVERITIES, query_risk[closing].softmax(-1).tolist(), strict=True)),
        }
        for name, flagged in (("strict", SEVERITIES[1:]), ("loose", SEVERITIES[1:2])):
            pairs = [at for at in range(1, len(levels)) if levels[at - 1] in flagged and levels[at] in flagged]
            found[name] = {"token": pairs[0], "character": tokens.offsets[pairs[0]][0]} if pairs else None
        return found


def argmax_equal(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether each of the four heads gives the same label at every position of both, (positions, logits)."""
    sizes = list(HEADS.values())
    heads = zip(ours.split(sizes, -1), theirs.split(sizes, -1), strict=True)
    return all(torch.equal(a.argmax(-1), b.argmax(-1)) for a, b in heads)


def main(folder: Path) -> None:
    """For each (prompt, answer) in the JSON list on standard input: the reference's verdict, as a JSON list."""
    reference, tokenizer = Reference(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    print(json.dumps([reference.verdict(tokenizer, *pair) for pair in json.load(sys.stdin)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
