"""The servers of models that the guarded models in a Pipelines server ask, and the ids that this gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from urllib.parse import quote

from guard_server.install.plugin_files import PIPELINES_MODELS
from guard_server.install.setting_places import ConnectionSwitch
from guard_server.open_webui.records import Body, WebuiConnection
from guard_server.open_webui.survey import Survey

SERVER_VALVES = ("upstream_base_urls", "upstream_api_keys")
_NO_KEY = "none"
# Of a plugin that nobody has set: pipelines/service.py.
_DEFAULT = "http://localhost:11434/v1"


@dataclass(frozen=True)
class ModelServer:
    """`url` is OpenAI-compatible. `connection` is Open WebUI's own to it, if that is on."""

    url: str
    key: str = field(repr=False)
    connection: WebuiConnection | None = None
    is_ollama: bool = False


def direct_servers(survey: Survey, pipelines_url: str) -> list[ModelServer]:
    """Those of the connections that are on, without Pipelines servers."""
    pipelines = {server.connection.url for server in survey.pipelines} | {pipelines_url}
    others = [one for one in survey.connections if one.is_enabled and one.url not in pipelines]
    ollama = [one for one in survey.ollama if one.is_enabled]
    return [
        *(ModelServer(one.url.rstrip("/"), one.key or _NO_KEY, one) for one in others if survey.openai_enabled),
        *(
            ModelServer(f"{one.url.rstrip('/')}/v1", one.key or _NO_KEY, one, is_ollama=True)
            for one in ollama
            if survey.ollama_enabled
        ),
    ]


def known_servers(valves: Body) -> list[ModelServer]:
    """Those that the plugin has."""
    urls, keys = ([one.strip() for one in str(valves.get(name) or "").split(",")] for name in SERVER_VALVES)
    pairs = zip_longest(filter(None, urls), keys)
    return [ModelServer(url, key or _NO_KEY) for url, key in pairs if url is not None]


def joined(known: Sequence[ModelServer], direct: Sequence[ModelServer]) -> tuple[ModelServer, ...]:
    """All of them, in the order of their places, which are parts of ids.

    Those that the plugin has stay where they are, also when an earlier run has switched their connections off.
    """
    new, kept, keys = list(direct), [], {one.key for one in known}
    for one in known:
        alike = [other for other in new if other.url == one.url.rstrip("/")]
        # One address may have several keys; an admin may have changed a key in Open WebUI.
        same = (other for other in alike if other.key == one.key)
        changed = (other for other in alike if other.key not in keys)
        match = next(same, next(changed, None))
        if match is not None:
            new.remove(match)
            kept.append(match)
        elif one.url != _DEFAULT:
            kept.append(one)
    return (*kept, *new)


def server_valves(servers: Sequence[ModelServer]) -> dict[str, str]:
    values = (", ".join(one.url for one in servers), ", ".join(one.key for one in servers))
    return dict(zip(SERVER_VALVES, values, strict=True))


def switch_of(survey: Survey, connection: WebuiConnection) -> ConnectionSwitch:
    alike = [one for one in survey.connections if one.url == connection.url and one.index < connection.index]
    return ConnectionSwitch(connection.url, len(alike))


def guarded_models(survey: Survey, servers: Sequence[ModelServer]) -> dict[str, str]:
    """The guarded model of each direct one, by their ids in Open WebUI."""
    places = {
        (one.is_ollama, one.connection.index): (place, one.connection.prefix)
        for place, one in enumerate(servers, 1)
        if one.connection is not None
    }
    found = {}
    for model in survey.models:
        if model.connection is not None and (model.is_ollama, model.connection) in places:
            place, prefix = places[model.is_ollama, model.connection]
            found[model.id] = guarded_id(model.id.removeprefix(f"{prefix}.") if prefix else model.id, place)
    return found


def guarded_id(model: str, place: int = 1) -> str:
    """The id that the plugin gives to a model of the server at `place`: pipelines/upstreams/model_ids.py."""
    entry = quote(model, safe=":").replace("~", "%7E").replace("%", "~")
    return f"{PIPELINES_MODELS}.{entry}" + ("" if place == 1 else f"~~{place}")
