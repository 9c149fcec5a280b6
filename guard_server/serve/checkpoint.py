"""What a checkpoint contains in addition to its weights: sizes and chat template, read from a folder or a hub."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guard_server.catalog import Hub, Model, find, kv_bytes_per_token
from guard_server.errors import UnreadableCheckpoint
from guard_server.serve import hub_files
from guard_server.stream.head_labels import Labels

_SMALL_FILES = ["config.json", "tokenizer_config.json", "chat_template.jinja"]


@dataclass(frozen=True)
class Checkpoint:
    """One model that vLLM is to serve."""

    source: str
    """What vLLM loads: a folder, or an id on the hub."""
    served_names: tuple[str, ...]
    config: dict[str, Any]
    template: str
    """The model's own chat template; in a Gen model it contains Qwen3Guard's policy and instructions."""
    model: Model | None = None
    """Its entry in the catalog, if it has one."""

    @property
    def local(self) -> bool:
        return Path(self.source).is_dir()

    @property
    def stream(self) -> bool:
        """Whether it is a Qwen3Guard-Stream: it gives a verdict at every token, and generates no text."""
        return "Qwen3ForGuardModel" in self.config.get("architectures", ())

    @property
    def context(self) -> int | None:
        """The longest sequence in tokens that the checkpoint was made for; None if its config does not say."""
        value = self.config.get("max_position_embeddings")
        return value if isinstance(value, int) else None

    @property
    def parameters(self) -> int | None:
        """Number of parameters of a dense model with gated feed-forward layers (such as Qwen3); None for others."""
        c = self.config
        try:
            hidden, layers, heads = c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"]
            attention = 2 * hidden * self._head_dim * (heads + c["num_key_value_heads"])
            embeddings = c["vocab_size"] * hidden * (1 if c.get("tie_word_embeddings") else 2)
            return int(embeddings + layers * (attention + 3 * hidden * c["intermediate_size"]))
        except (KeyError, TypeError):
            return None

    def kv_bytes_per_token(self, bytes_per_value: int) -> int | None:
        """Size of the key-value cache; None if the config does not say."""
        try:
            layers, heads = self.config["num_hidden_layers"], self.config["num_key_value_heads"]
            return kv_bytes_per_token(layers, heads, self._head_dim, bytes_per_value)
        except (KeyError, TypeError):
            return None

    @property
    def _head_dim(self) -> int:
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.config["num_attention_heads"])


def load(wanted: str, hub: Hub) -> Checkpoint:
    """The checkpoint that `wanted` names: see `catalog.find`. Downloads a few small files if it is on a hub.

    Raises:
        UnknownModel, HubUnreachable, UnreadableCheckpoint: see errors.py.
    """
    found = find(wanted)
    if isinstance(found, Model):
        source = str(found.folder) if found.folder else found.on(hub)
        assert source is not None
        return _read(source, found.served_names, hub, found)
    if isinstance(found, Path):
        return _read(str(found), (found.name,), hub, None)
    return _read(found, (found,), hub, None)


def _read(source: str, served_names: tuple[str, ...], hub: Hub, model: Model | None) -> Checkpoint:
    folder = Path(source) if Path(source).is_dir() else None
    if folder is None and not (model is not None and model.demo):
        folder = hub_files.fetch(source, hub, _SMALL_FILES)
    config = _json(folder / "config.json") if folder else None
    if folder is None or config is None:
        cause = f"{source} has no config.json: it is not a model folder."
        remedy = "Name the folder with config.json and the weights (*.safetensors)."
        if model is not None and model.demo:
            remedy = f"Train it: python -m training {model.kind} --data FOLDER."
        raise UnreadableCheckpoint(cause, remedy)
    checkpoint = Checkpoint(source, served_names, config, _template(folder), model)
    if checkpoint.stream:
        # Raises now rather than after a minute of loading.
        Labels.of(config)
    return checkpoint


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = (_json(folder / "tokenizer_config.json") or {}).get("chat_template")
    if isinstance(template, list):
        # Several named templates; chat uses the one named "default".
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    if isinstance(template, str):
        return template
    cause = f"{folder} has no chat template, and a guard cannot read a conversation without one."
    raise UnreadableCheckpoint(cause, "Use a Qwen3Guard model: qwen3guard serve gen-0.6b.")


def _json(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnreadableCheckpoint(f"{file} is not JSON: {error}.", "Download the model again.") from error
    return value if isinstance(value, dict) else None
