"""Places of Open WebUI's own settings: default and task models, and its connections."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body


@dataclass(frozen=True)
class Setting:
    """One entry of the settings that Open WebUI reads and saves at one address."""

    kind: ClassVar[str] = "setting"
    read_path: str
    write_path: str
    name: str

    def __str__(self) -> str:
        return f"the setting {self.name}"

    def read(self, client: WebuiClient) -> Any:
        return client.get(self.read_path).get(self.name)

    def write(self, client: WebuiClient, value: Any) -> None:
        client.post(self.write_path, client.get(self.read_path) | {self.name: value})


def model_setting(name: str) -> Setting:
    """Default and pinned models, and their order."""
    return Setting("/api/v1/configs/models", "/api/v1/configs/models", name)


def task_setting(name: str) -> Setting:
    return Setting("/api/v1/tasks/config", "/api/v1/tasks/config/update", name)


ARENA = Setting("/api/v1/evaluations/config", "/api/v1/evaluations/config", "ENABLE_EVALUATION_ARENA_MODELS")
OPENAI = Setting("/openai/config", "/openai/config/update", "ENABLE_OPENAI_API")
OLLAMA = Setting("/ollama/config", "/ollama/config/update", "ENABLE_OLLAMA_API")


@dataclass(frozen=True)
class ConnectionSwitch:
    """Whether an OpenAI-compatible connection is on: False for off; None, if nobody ever said so, is on.

    Its key stays in Open WebUI, whatever is written here. `earlier`: how many connections with the same address come
    before it, such as one for each of several keys.
    """

    kind: ClassVar[str] = "connection is on"
    url: str
    earlier: int = 0

    def __str__(self) -> str:
        return f"the switch of the connection {self.url}"

    def read(self, client: WebuiClient) -> Any:
        config = client.get("/openai/config")
        index = self._index(config)
        return None if index is None else self._settings(config, index).get("enable")

    def write(self, client: WebuiClient, value: Any) -> None:
        config = client.get("/openai/config")
        index = self._index(config)
        if index is None:
            return
        settings = {name: one for name, one in self._settings(config, index).items() if name != "enable"}
        config["OPENAI_API_CONFIGS"][index] = settings | ({} if value is None else {"enable": value})
        client.post("/openai/config/update", config)

    def _index(self, config: Body) -> str | None:
        places = [place for place, url in enumerate(config["OPENAI_API_BASE_URLS"]) if url == self.url]
        return str(places[self.earlier]) if self.earlier < len(places) else None

    def _settings(self, config: Body, index: str) -> Body:
        settings = config["OPENAI_API_CONFIGS"]
        return dict(settings.get(index, settings.get(self.url, {})))


@dataclass(frozen=True)
class PipelinesConnection:
    """Whether a Pipelines server is among the connections. To add it takes its key, which no file has."""

    kind: ClassVar[str] = "connection to a Pipelines server"
    url: str
    key: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the connection to the Pipelines server {self.url}"

    def read(self, client: WebuiClient) -> Any:
        return True if self.url in client.get("/openai/config")["OPENAI_API_BASE_URLS"] else None

    def write(self, client: WebuiClient, value: Any) -> None:
        config = client.get("/openai/config")
        urls, keys = config["OPENAI_API_BASE_URLS"], config["OPENAI_API_KEYS"]
        if value:
            added = {"OPENAI_API_BASE_URLS": [*urls, self.url], "OPENAI_API_KEYS": [*keys, self.key]}
            client.post("/openai/config/update", config | added)
            return
        # Other settings name connections by their places: those after this one move up.
        gone = urls.index(self.url)
        settings = {int(place): one for place, one in config["OPENAI_API_CONFIGS"].items() if place.isdecimal()}
        moved = {str(place - (place > gone)): one for place, one in settings.items() if place != gone}
        client.post(
            "/openai/config/update",
            config
            | {
                "OPENAI_API_BASE_URLS": urls[:gone] + urls[gone + 1 :],
                "OPENAI_API_KEYS": keys[:gone] + keys[gone + 1 :],
            }
            | {"OPENAI_API_CONFIGS": moved},
        )
