"""Places of a Pipelines server's plugins. Each request may reach another one of its workers."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from guard_server.errors import CannotInstall
from guard_server.install.plugin_files import plugin_file
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.workers import from_all_workers

UPLOADS = 60
"""Uploads after which all workers that share a folder have a file: eight workers have it after 22 on average."""
# Workers that share a folder follow each other within one second (pipelines/lifecycle/shared_valves.py).
_FOLLOW_SECONDS = 5
_PAUSE_SECONDS = 0.3

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
        return True if any(self.looks(client)) else None

    def looks(self, client: WebuiClient) -> list[bool]:
        """Whether it is there, by the workers that answer."""
        index = _index(client, self.server)
        lists = from_all_workers(lambda: client.get("/api/v1/pipelines/", urlIdx=index)["data"])
        return [self.plugin in {one["id"] for one in listed} for listed in lists]

    def write(self, client: WebuiClient, value: Any) -> None:
        """Deletes it; `upload` is the other direction.

        Raises:
            CannotInstall: some workers go on with it
        """
        if value is not None:
            return
        self._forget(client)
        for _ in range(UPLOADS):
            self._delete(client)
            if not any(self.looks(client)):
                return
            # The worker that deletes a file ends the plugin, and no other one can: its file has to be there again.
            self.upload(client, plugin_file(self.plugin).text)
        raise CannotInstall(
            f"Some workers of the Pipelines server still run {self.plugin}.", "Restart the server, and run this again."
        )

    def _delete(self, client: WebuiClient) -> None:
        form = {"id": self.plugin, "urlIdx": _index(client, self.server)}
        for _ in range(UPLOADS):
            # A worker that does not run it refuses.
            if client.reply("DELETE", "/api/v1/pipelines/delete", json=form).is_success:
                return
        client.delete("/api/v1/pipelines/delete", form)

    def _forget(self, client: WebuiClient) -> None:
        """The server keeps the valves of a plugin that it deletes."""
        index = _index(client, self.server)
        path = f"/api/v1/pipelines/{self.plugin}/valves"
        replies = from_all_workers(lambda: client.reply("GET", path, params={"urlIdx": index}))
        # The refusal model has no valves.
        valves: dict[str, Any] = next((reply.json() for reply in replies if reply.is_success), {})
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
        """Returns when all workers have it: the next one that writes begins with the valves that a worker has.

        Raises:
            CannotInstall: they do not follow each other
        """
        if value is None:
            return
        index = _index(client, self.server)
        path = f"/api/v1/pipelines/{self.plugin}/valves"
        client.post(f"{path}/update?urlIdx={index}", client.get(path, urlIdx=index) | value)
        deadline = time.monotonic() + _FOLLOW_SECONDS
        while True:
            found = from_all_workers(lambda: self.read(client))
            if all(one == found[0] for one in found) and (found[0] == value or time.monotonic() > deadline):
                return
            if time.monotonic() > deadline:
                raise CannotInstall(
                    f"The workers of the Pipelines server have different valves of {self.plugin}.",
                    "They must share one folder of plugins: docs/operations.md, Several workers.",
                )
            time.sleep(_PAUSE_SECONDS)


def _index(client: WebuiClient, url: str) -> int:
    urls: list[str] = client.get("/openai/config")["OPENAI_API_BASE_URLS"]
    if url not in urls:
        raise CannotInstall(
            f"The Pipelines server {url} is not connected any more.", "Connect it again, and run the command again."
        )
    return urls.index(url)
