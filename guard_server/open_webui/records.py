"""What an Open WebUI has, as values. None of them shows a key or a token when it is printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]

OURS = "qwen3guard"
"""The beginning of the ids and titles of our plugins, and so of their models."""
EVERYBODY: Body = {"principal_type": "user", "principal_id": "*", "permission": "read"}


@dataclass(frozen=True)
class WebuiConnection:
    """A server of models. `index` is its place in Open WebUI's list of its kind, which other settings name it by."""

    index: int
    url: str
    key: str = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)

    @property
    def is_enabled(self) -> bool:
        return bool(self.settings.get("enable", True))

    @property
    def model_ids(self) -> tuple[str, ...]:
        """The only models that Open WebUI lists of it; empty for all."""
        return tuple(self.settings.get("model_ids") or ())

    @property
    def prefix(self) -> str:
        """What Open WebUI puts before the ids of its models."""
        return str(self.settings.get("prefix_id") or "")


@dataclass(frozen=True)
class Pipeline:
    """A plugin of a Pipelines server. `type` is `filter`, `manifold` or `pipe`."""

    id: str
    name: str
    type: str
    has_valves: bool


@dataclass(frozen=True)
class PipelinesServer:
    """A connection that is a Pipelines server. `problem` is Open WebUI's own words if it got no list of plugins."""

    connection: WebuiConnection
    pipelines: tuple[Pipeline, ...]
    problem: str = ""


@dataclass(frozen=True)
class Function:
    """A plugin in Open WebUI's own process. `valves` are those that were set; all others follow their defaults."""

    id: str
    name: str
    type: str
    is_active: bool
    is_global: bool
    meta: Mapping[str, Any] = field(repr=False)
    content: str = field(repr=False)
    valves: Mapping[str, Any] = field(repr=False)

    @property
    def version(self) -> str:
        """As the file says it; empty if it does not."""
        return str((self.meta.get("manifest") or {}).get("version") or "")


@dataclass(frozen=True)
class ModelRecord:
    """What the admin said of a model, or a preset. `raw` is the whole object, as the API gives it."""

    id: str
    name: str
    base: str | None
    is_active: bool
    grants: tuple[Mapping[str, Any], ...]
    raw: Body = field(repr=False)

    @property
    def is_preset(self) -> bool:
        return self.base is not None

    @property
    def is_hidden(self) -> bool:
        return bool((self.raw.get("meta") or {}).get("hidden"))

    @property
    def readers(self) -> frozenset[tuple[str, str]]:
        """Who may use it, besides admins: pairs such as ("user", "*"), which is everybody, or ("group", its id)."""
        return frozenset(
            (str(one["principal_type"]), str(one["principal_id"])) for one in self.grants if one["permission"] == "read"
        )

    @property
    def is_public(self) -> bool:
        return ("user", "*") in self.readers


@dataclass(frozen=True)
class WebuiModel:
    """A model that can be asked, or a filter of a Pipelines server.

    `connection` is the place of its server among the OpenAI-compatible ones or, of a model of Ollama, among those of
    Ollama; `plugin` is the id of the Function or of the pipeline that offers it, and `plugin_type` its type.
    """

    id: str
    name: str
    owner: str
    connection: int | None = None
    plugin: str = ""
    plugin_type: str = ""
    filters: tuple[str, ...] = ()
    """Of a filter: the models that it is for; ("*",) for all."""

    @property
    def is_filter(self) -> bool:
        return self.plugin_type == "filter"

    @property
    def is_function(self) -> bool:
        """Whether a Function is the model itself."""
        return bool(self.plugin) and self.connection is None

    @property
    def is_ollama(self) -> bool:
        return self.owner == "ollama"

    @property
    def is_arena(self) -> bool:
        return self.owner == "arena"
