"""The models that have a short name in this project.

Ids, parameters and context are those of the model cards (huggingface.co/Qwen, modelscope.cn/models/Qwen). A Qwen3Guard
model has the architecture of the Qwen3 model of its size, so layers, key-value heads and head size are those in
config.json of Qwen/Qwen3-0.6B, -4B and -8B.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guard_server.errors import UnknownModel

Hub = Literal["huggingface", "modelscope"]

CONTEXT = 10240
"""Context in tokens with which a guard is served: the value in the article that this project follows."""

DEFAULT = "gen-0.6b"
"""A real guard, small enough for any GPU. The demo guard is served only if it is named."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_BYTES_OF_BFLOAT16 = 2


@dataclass(frozen=True)
class Model:
    """A model with a short name. A demo guard is in a folder of this package, the others on two hubs with one id."""

    name: str
    kind: Literal["gen", "stream"]
    huggingface: str | None = None
    modelscope: str | None = None
    folder: Path | None = None
    parameters: int = 0
    """As stored, including an output layer that is tied to the embeddings; 0 for a demo guard: see its config.json."""
    context: int = 0
    """Tokens; 0 for a demo guard."""
    kv_bytes_per_token: int = 0
    """Of the key-value cache in bfloat16; 0 for a demo guard."""

    @property
    def demo(self) -> bool:
        return self.folder is not None

    @property
    def real(self) -> str:
        """The smallest model of this kind that is not a demo."""
        return f"{self.kind}-0.6b"

    @property
    def weights_gb(self) -> float:
        """GB (10^9 bytes) to download, in bfloat16."""
        return self.parameters * _BYTES_OF_BFLOAT16 / 1e9

    @property
    def served_names(self) -> tuple[str, ...]:
        """The names in /v1/models; the first is used in replies to requests that name no model."""
        return ("qwen3guard-" + self.name,) if self.huggingface is None else (self.huggingface, self.name)

    def on(self, hub: Hub) -> str | None:
        return self.huggingface if hub == "huggingface" else self.modelscope


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, bytes_per_value: int = _BYTES_OF_BFLOAT16) -> int:
    """Size in bytes: a key and a value of `head_dim` numbers for every key-value head of every layer."""
    return 2 * layers * kv_heads * head_dim * bytes_per_value


def _pair(size: str, parameters: int, layers: int) -> tuple[Model, Model]:
    def one(kind: Literal["gen", "stream"]) -> Model:
        hub_id = f"Qwen/Qwen3Guard-{kind.capitalize()}-{size}"
        return Model(
            name=f"{kind}-{size.lower()}",
            kind=kind,
            huggingface=hub_id,
            modelscope=hub_id,
            parameters=parameters,
            context=32768,
            kv_bytes_per_token=kv_bytes_per_token(layers, kv_heads=8, head_dim=128),
        )

    return one("gen"), one("stream")


_PAIRS = (_pair("0.6B", 751_632_384, 28), _pair("4B", 4_022_468_096, 36), _pair("8B", 8_190_735_360, 36))
DEMO_FOLDER = Path(__file__).parent / "demo_guard/gen"
DEMO_STREAM_FOLDER = Path(__file__).parent / "demo_guard/stream"
DEMO_TOKENIZER = Path(__file__).parent / "demo_guard/tokenizer"
"""The tokenizer that both demo guards share. vLLM looks for a config next to it, and waits if there is none."""

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        *(gen for gen, _ in _PAIRS),
        *(stream for _, stream in _PAIRS),
        Model(name="demo", kind="gen", folder=DEMO_FOLDER),
        Model(name="demo-stream", kind="stream", folder=DEMO_STREAM_FOLDER),
    )
}


def demo_served_as(name: str | None) -> Model | None:
    """The demo guard with this name in /v1/models; None if it is not one."""
    return next((model for model in MODELS.values() if model.demo and name in model.served_names), None)


def tokenizer_of(folder: Path) -> Path:
    """The folder with the tokenizer of the model in `folder`: its own, except for the demo guards."""
    demo = folder.resolve() in (DEMO_FOLDER.resolve(), DEMO_STREAM_FOLDER.resolve())
    return DEMO_TOKENIZER if demo else folder


def find(wanted: str) -> Model | Path | str:
    """The model that `wanted` names: one of ours (by short name or hub id), a folder, or another hub id.

    Raises:
        UnknownModel: it is none of these; the remedy names the closest short names.
    """
    for model in MODELS.values():
        if wanted.lower() in (
            model.name,
            *(hub_id.lower() for hub_id in (model.huggingface, model.modelscope) if hub_id),
        ):
            return model
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if _HUB_ID.fullmatch(wanted):
        return wanted
    if folder.is_absolute() or wanted.startswith((".", "~")):
        raise UnknownModel(f"There is no folder {wanted}.", "Check the path, or name a model: " + ", ".join(MODELS))
    close = difflib.get_close_matches(wanted.lower(), MODELS, n=3, cutoff=0.4)
    names = ", ".join(MODELS)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise UnknownModel(
        f"There is no model {wanted!r}.", f"{hint}Known: {names}; or a hub id (owner/name), or a folder."
    )
