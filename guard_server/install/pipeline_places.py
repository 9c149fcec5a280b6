"""Places of a Pipelines server's plugins."""

from dataclasses import dataclass
from typing import Any, ClassVar

from guard_server.open_webui.client import WebuiClient

# What must not stay in a plugin's folder: keys, and what only works next to another plugin.
_FORGOTTEN: dict[str, Any] = {
    "guard_api_key": "EMPTY",
    "upstream_api_keys": "none",
    "upstream_headers": "none",
    "reroute": False,
    "refusal_entry": False,
}


@dataclass(frozen=True)
class PipelineFile:
    """A plugin of a Pipelines server. The server gives no text back, so its value is only that it is there."""

    kind: ClassVar[str] = "pipeline"
    server: str
    plugin: str

    def __str__(self) -> str:
        return f"{self.plugin} in the Pipelines server"

    def read(self, client: WebuiClient) -> Any:
        listed = client.get("/api/v1/pipelines/", urlIdx=_index(client, self.server))["data"]
        return True if self.plugin in {one["id"] for one in listed} else None

    def write(self, client: WebuiClient, value: Any) -> None:
        """Deletes it; `upload` is the other direction."""
        if value is None:
            self._forget(client)
            client.delete("/api/v1/pipelines/delete", {"id": self.plugin, "urlIdx": _index(client, self.server)})

    def _forget(self, client: WebuiClient) -> None:
        """The server keeps the valves of a plugin that it deletes."""
        index = _index(client, self.server)
        path = f"/api/v1/pipelines/{self.plugin}/valves"
        # The refusal model has no valves.
        reply = client.reply("GET", path, params={"urlIdx": index})
        valves = reply.json() if reply.is_success else {}
        blank = {name: one for name, one in _FORGOTTEN.items() if name in valves}
        if blank:
            client.post(f"{path}/update?urlIdx={index}", valves | blank)

    def upload(self, client: WebuiClient, text: str) -> None:
        form = {"urlIdx": str(_index(client, self.server))}
        client.upload("/api/v1/pipelines/upload", form, f"{self.plugin}.py", text.encode())


@dataclass(frozen=True)
class PipelineValves:
    """Some valves of a plugin of a Pipelines server."""

    kind: ClassVar[str] = "valves of a pipeline"
    server: str
    plugin: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"valves of {self.plugin} in the Pipelines server"

    def read(self, client: WebuiClient) -> Any:
        valves = client.get(f"/api/v1/pipelines/{self.plugin}/valves", urlIdx=_index(client, self.server))
        return {name: valves.get(name) for name in self.names}

    def write(self, client: WebuiClient, value: Any) -> None:
        if value is None:
            return
        index = _index(client, self.server)
        valves = client.get(f"/api/v1/pipelines/{self.plugin}/valves", urlIdx=index)
        client.post(f"/api/v1/pipelines/{self.plugin}/valves/update?urlIdx={index}", valves | value)


def _index(client: WebuiClient, url: str) -> int:
    urls: list[str] = client.get("/openai/config")["OPENAI_API_BASE_URLS"]
    return urls.index(url)
