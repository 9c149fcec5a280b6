"""Looks at everything of an Open WebUI that decides whether its users are protected."""

from dataclasses import dataclass, field
from typing import Any

from guard_server.errors import WebuiRefused
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import (
    Body,
    Function,
    ModelRecord,
    Pipeline,
    PipelinesServer,
    WebuiConnection,
    WebuiModel,
)


@dataclass(frozen=True)
class Survey:
    """One Open WebUI at one moment."""

    url: str
    version: str
    users: int
    openai_enabled: bool
    connections: tuple[WebuiConnection, ...]
    ollama_enabled: bool
    ollama: tuple[WebuiConnection, ...]
    pipelines: tuple[PipelinesServer, ...]
    functions: tuple[Function, ...]
    models: tuple[WebuiModel, ...]
    """What its connections and Functions offer. Presets are among the records only."""
    records: tuple[ModelRecord, ...]
    model_settings: Body = field(repr=False)
    """Default and pinned models, and their order, as the API gives them."""
    task_settings: Body = field(repr=False)
    """The task models, and what tasks there are, as the API gives them."""

    @property
    def presets(self) -> tuple[ModelRecord, ...]:
        return tuple(record for record in self.records if record.is_preset)

    @property
    def chat_models(self) -> tuple[WebuiModel, ...]:
        """The models that answer by themselves: no filter, and no arena, which asks another one."""
        return tuple(one for one in self.models if not (one.is_filter or one.is_arena))

    @property
    def default_models(self) -> tuple[str, ...]:
        """The models that a new chat begins with."""
        return tuple(filter(None, str(self.model_settings.get("DEFAULT_MODELS") or "").split(",")))

    def record(self, model: str) -> ModelRecord | None:
        return next((record for record in self.records if record.id == model), None)

    def function(self, plugin: str) -> Function | None:
        return next((function for function in self.functions if function.id == plugin), None)

    def pipelines_at(self, index: int) -> PipelinesServer | None:
        return next((server for server in self.pipelines if server.connection.index == index), None)

    def may_read(self, model: str) -> bool:
        """Whether any user but admins may use a model: one without a record is closed."""
        record = self.record(model)
        return record is not None and bool(record.readers)


def survey(client: WebuiClient) -> Survey:
    """Looks at everything once, after `client.check_admin()`.

    Raises:
        WebuiError
    """
    openai = client.get("/openai/config")
    ollama = client.get("/ollama/config")
    connections = _connections(openai, "OPENAI_API_BASE_URLS", "OPENAI_API_CONFIGS")
    return Survey(
        url=client.url,
        version=client.version(),
        users=int(client.get("/api/v1/users/").get("total") or 0),
        openai_enabled=bool(openai.get("ENABLE_OPENAI_API")),
        connections=connections,
        ollama_enabled=bool(ollama.get("ENABLE_OLLAMA_API")),
        ollama=_connections(ollama, "OLLAMA_BASE_URLS", "OLLAMA_API_CONFIGS"),
        pipelines=_pipelines(client, connections),
        functions=functions(client),
        models=models(client),
        records=records(client),
        model_settings=client.get("/api/v1/configs/models"),
        task_settings=client.get("/api/v1/tasks/config"),
    )


def functions(client: WebuiClient) -> tuple[Function, ...]:
    """All Functions, with the valves that were set."""
    exported = client.get("/api/v1/functions/export", include_valves=True)
    return tuple(
        Function(
            id=one["id"],
            name=one["name"],
            type=one["type"],
            is_active=bool(one["is_active"]),
            is_global=bool(one["is_global"]),
            meta=one.get("meta") or {},
            content=one["content"],
            valves=one.get("valves") or {},
        )
        for one in exported
    )


def models(client: WebuiClient) -> tuple[WebuiModel, ...]:
    """What all connections and Functions offer now, filters of Pipelines servers included."""
    # The second route has filters too, but lists from a cache, which the first one refreshes: that of one worker, so
    # both are asked over one connection. The next list may be another worker's.
    client.get("/api/models", refresh=True)
    listed = client.call("GET", "/api/models/base", headers={"Connection": "close"})
    return tuple(_listed(one) for one in listed["data"])


def records(client: WebuiClient) -> tuple[ModelRecord, ...]:
    """The admin's records of models, and the presets."""
    found = [*client.get("/api/v1/models/base"), *client.get("/api/v1/models/export")]
    return tuple(
        ModelRecord(
            id=one["id"],
            name=one["name"],
            base=one.get("base_model_id"),
            is_active=bool(one.get("is_active", True)),
            grants=tuple(one.get("access_grants") or ()),
            raw=one,
        )
        for one in found
    )


def _connections(config: Body, urls: str, configs: str) -> tuple[WebuiConnection, ...]:
    """Those that `config` lists under `urls`, with their settings under `configs`."""
    keys, all_settings = config.get("OPENAI_API_KEYS") or [], config.get(configs) or {}
    found = []
    for index, url in enumerate(config.get(urls) or []):
        # Older settings are stored by address.
        settings = all_settings.get(str(index), all_settings.get(url, {}))
        # Ollama has no list of keys.
        key = keys[index] if index < len(keys) else str(settings.get("key") or "")
        found.append(WebuiConnection(index, url, key, settings))
    return tuple(found)


def _pipelines(client: WebuiClient, connections: tuple[WebuiConnection, ...]) -> tuple[PipelinesServer, ...]:
    servers = []
    for one in client.get("/api/v1/pipelines/list")["data"]:
        connection = connections[int(one["idx"])]
        try:
            listed, problem = client.get("/api/v1/pipelines/", urlIdx=connection.index)["data"], ""
        except WebuiRefused as refused:
            listed, problem = [], refused.cause
        pipelines = tuple(
            Pipeline(str(one["id"]), str(one["name"]), str(one["type"]), bool(one["valves"])) for one in listed
        )
        servers.append(PipelinesServer(connection, pipelines, problem))
    return tuple(servers)


def _listed(model: dict[str, Any]) -> WebuiModel:
    pipeline, pipe = model.get("pipeline"), model.get("pipe")
    plugin = str(model["id"]).partition(".")[0] if pipeline or pipe else ""
    # A filter has `pipelines`, the models that it is for.
    targets = tuple((pipeline or {}).get("pipelines") or ())
    return WebuiModel(
        id=str(model["id"]),
        name=str(model.get("name") or model["id"]),
        owner=str(model.get("owned_by") or ""),
        connection=model.get("urlIdx", next(iter((model.get("ollama") or {}).get("urls") or ()), None)),
        plugin=plugin,
        plugin_type=str((pipeline or pipe or {}).get("type") or ""),
        filters=targets,
    )
