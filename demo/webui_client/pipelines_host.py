"""The Pipelines server, as an admin uses it on the page Settings > Pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.errors import SetupFailed
from demo.state import State
from demo.webui_client.plugin_host import built, check_names
from demo.webui_client.webui_api import WebuiApi


class PipelinesHost:
    """`index`: the server's place in Open WebUI's list of connections."""

    log = "pipelines"

    def __init__(self, api: WebuiApi, state: State, index: int) -> None:
        self.api = api
        self.state = state
        self.index = index

    def install(self, file: Path) -> None:
        """Uploads a file.

        Pipelines reports success even for a file that it could not load (and moves that file away), so the list of
        loaded pipelines is checked.
        """
        content = built(file)
        held = self.state.pipelines / file.name
        if not (held.exists() and held.read_bytes() == content):
            self.api.upload("/api/v1/pipelines/upload", {"urlIdx": str(self.index)}, file.name, content)
        listed = self.api.get("/api/v1/pipelines/", urlIdx=self.index)["data"]
        if file.stem not in {pipeline["name"] for pipeline in listed}:
            raise SetupFailed(f"The Pipelines server could not load {file.name}: {self._why_not_loaded(file.stem)}")

    def valves(self, plugin: str) -> dict[str, Any]:
        valves: dict[str, Any] = self.api.get(f"/api/v1/pipelines/{plugin}/valves", urlIdx=self.index)
        return valves

    def set_valves(self, plugin: str, valves: dict[str, Any]) -> None:
        before = self.valves(plugin)
        check_names(plugin, valves, before)
        if before | valves != before:
            self.api.post(f"/api/v1/pipelines/{plugin}/valves/update?urlIdx={self.index}", before | valves)

    def check_filter(self, plugin: str) -> None:
        """A filter is on for every model if its `pipelines` is exactly `["*"]`."""
        for model in self.api.get(f"/openai/models/{self.index}")["data"]:
            on_for = (model.get("pipeline") or {}).get("pipelines")
            if model["id"] == plugin and on_for != ["*"]:
                raise SetupFailed(
                    f"The filter {plugin} is on for {on_for} only: set its valve `pipelines` to * (Admin Panel > "
                    "Settings > Pipelines)."
                )

    def _why_not_loaded(self, name: str) -> str:
        """The reason, from the server's log: it prints it after this line, and does not return it."""
        log = self.state.log(self.log)
        _, _, reason = log.read_text(errors="replace").rpartition(f"Error loading module: {name}\n")
        return f"{reason.partition(chr(10))[0]} ({log})"
