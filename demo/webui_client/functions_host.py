"""Functions, as an admin uses them on the page Admin Panel > Functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.errors import SetupFailed
from demo.webui_client.plugin_host import built, check_names
from demo.webui_client.webui_api import WebuiApi

_PATH = "/api/v1/functions"


class FunctionsHost:
    """Open WebUI's own process runs the plugins."""

    log = "webui"

    def __init__(self, api: WebuiApi) -> None:
        self.api = api

    def install(self, file: Path) -> None:
        """Saves a file and switches it on, a filter for every model.

        Raises:
            SetupFailed: Open WebUI cannot load it. The reason is in its log only.
        """
        content = built(file).decode()
        known = self.known()
        form = {"id": file.stem, "name": file.stem, "content": content, "meta": {"description": "Qwen3Guard"}}
        if file.stem not in known:
            self.api.post(f"{_PATH}/create", form)
        elif known[file.stem]["content"] != content:
            self.api.post(f"{_PATH}/id/{file.stem}/update", form)
        self.switch(file.stem, active=True)

    def known(self) -> dict[str, dict[str, Any]]:
        """All Functions, by their ids."""
        return {each["id"]: each for each in self.api.get(f"{_PATH}/export")}

    def switch(self, plugin: str, *, active: bool) -> None:
        """Switches a plugin on or off; a filter that is on is on for every model."""
        state = self.api.get(f"{_PATH}/id/{plugin}")
        if state["is_active"] != active:
            self.api.post(f"{_PATH}/id/{plugin}/toggle", {})
        if state["type"] == "filter" and not state["is_global"]:
            self.api.post(f"{_PATH}/id/{plugin}/toggle/global", {})

    def valves(self, plugin: str) -> dict[str, Any]:
        """Open WebUI stores only those that were set, and the Function's schema has the defaults of the others."""
        return self._defaults(plugin) | self._stored(plugin)

    def set_valves(self, plugin: str, valves: dict[str, Any]) -> None:
        check_names(plugin, valves, self._defaults(plugin))
        before = self._stored(plugin)
        if before | valves != before:
            self.api.post(f"{_PATH}/id/{plugin}/valves/update", before | valves)

    def check_filter(self, plugin: str) -> None:
        state = self.api.get(f"{_PATH}/id/{plugin}")
        if not (state["is_active"] and state["is_global"]):
            raise SetupFailed(
                f"The filter {plugin} is off: switch it on, and set it to Global in its menu (Admin Panel > Functions)."
            )

    def _stored(self, plugin: str) -> dict[str, Any]:
        return self.api.get(f"{_PATH}/id/{plugin}/valves") or {}

    def _defaults(self, plugin: str) -> dict[str, Any]:
        properties = self.api.get(f"{_PATH}/id/{plugin}/valves/spec")["properties"]
        return {name: spec.get("default") for name, spec in properties.items()}
