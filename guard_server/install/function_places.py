"""Places of Functions: the text, the switches, the valves."""

from dataclasses import dataclass
from typing import Any, ClassVar

from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Function
from guard_server.open_webui.survey import functions


@dataclass(frozen=True)
class FunctionFile:
    """A Function; its value has the name, the text and the description."""

    kind: ClassVar[str] = "function"
    plugin: str

    def __str__(self) -> str:
        return f"the Function {self.plugin}"

    def read(self, client: WebuiClient) -> Any:
        found = _function(client, self.plugin)
        if found is None:
            return None
        description = str(found.meta.get("description") or "")
        return {"name": found.name, "content": found.content, "description": description}

    def write(self, client: WebuiClient, value: Any) -> None:
        path = "/api/v1/functions"
        if value is None:
            client.delete(f"{path}/id/{self.plugin}/delete")
            return
        meta = {"description": value["description"]}
        form = {"id": self.plugin, "name": value["name"], "content": value["content"], "meta": meta}
        exists = _function(client, self.plugin) is not None
        client.post(f"{path}/id/{self.plugin}/update" if exists else f"{path}/create", form)


@dataclass(frozen=True)
class FunctionSwitch:
    """Whether a Function is on, and on for all models."""

    kind: ClassVar[str] = "function is on"
    plugin: str

    def __str__(self) -> str:
        return f"the switch of the Function {self.plugin}"

    def read(self, client: WebuiClient) -> Any:
        found = _function(client, self.plugin)
        return None if found is None else {"active": found.is_active, "global": found.is_global}

    def write(self, client: WebuiClient, value: Any) -> None:
        now, path = self.read(client), f"/api/v1/functions/id/{self.plugin}/toggle"
        if now is None or value is None:
            return
        # Global first: a filter that is on is on for all models from its first moment.
        if now["global"] != value["global"]:
            client.post(f"{path}/global", {})
        if now["active"] != value["active"]:
            client.post(path, {})


@dataclass(frozen=True)
class FunctionValves:
    """Some valves of a Function: None for one that follows its default."""

    kind: ClassVar[str] = "valves of a function"
    plugin: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"valves of the Function {self.plugin}"

    def read(self, client: WebuiClient) -> Any:
        found = _function(client, self.plugin)
        return None if found is None else {name: found.valves.get(name) for name in self.names}

    def write(self, client: WebuiClient, value: Any) -> None:
        found = _function(client, self.plugin)
        if found is None or value is None:
            return
        kept = {name: one for name, one in found.valves.items() if name not in self.names}
        valves = kept | {name: one for name, one in value.items() if one is not None}
        client.post(f"/api/v1/functions/id/{self.plugin}/valves/update", valves)


def _function(client: WebuiClient, plugin: str) -> Function | None:
    return next((function for function in functions(client) if function.id == plugin), None)
