"""Places of models: their records, who may use them, and single settings."""

from dataclasses import dataclass
from typing import Any, ClassVar

from guard_server.errors import CannotInstall, WebuiRefused
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body

_FORM = ("id", "base_model_id", "name", "meta", "params", "is_active")


@dataclass(frozen=True)
class ModelRecordPlace:
    """The whole record of a model that we make; its value is the form that makes it."""

    kind: ClassVar[str] = "model record"
    model: str

    def __str__(self) -> str:
        return f"the entry of {self.model} among the models"

    def read(self, client: WebuiClient) -> Any:
        record = _record(client, self.model)
        return None if record is None else form_of(record) | {"access_grants": grants_of(record)}

    def write(self, client: WebuiClient, value: Any) -> None:
        if value is None:
            client.post("/api/v1/models/model/delete", {"id": self.model})
        else:
            client.post("/api/v1/models/create", value)


@dataclass(frozen=True)
class ModelGrants:
    """Who may use a model."""

    kind: ClassVar[str] = "access to a model"
    model: str

    def __str__(self) -> str:
        return f"who may use {self.model}"

    def read(self, client: WebuiClient) -> Any:
        record = _record(client, self.model)
        return None if record is None else grants_of(record)

    def write(self, client: WebuiClient, value: Any) -> None:
        client.post("/api/v1/models/model/access/update", {"id": self.model, "access_grants": value or []})


@dataclass(frozen=True)
class ModelField:
    """`hidden`, `base_model_id` or `is_active` of a model that has a record."""

    kind: ClassVar[str] = "setting of a model"
    model: str
    name: str

    def __str__(self) -> str:
        return f"the setting {self.name} of {self.model}"

    def read(self, client: WebuiClient) -> Any:
        record = _record(client, self.model)
        if record is None:
            return None
        return (record.get("meta") or {}).get("hidden") if self.name == "hidden" else record.get(self.name)

    def write(self, client: WebuiClient, value: Any) -> None:
        record = _record(client, self.model)
        if record is None:
            return
        form = form_of(record)
        if self.name == "hidden":
            # What the API gives has the field only if it was set once.
            form["meta"] = {name: one for name, one in form["meta"].items() if name != "hidden"}
            form["meta"] |= {} if value is None else {"hidden": value}
        else:
            form[self.name] = value
        client.post("/api/v1/models/model/update", form)


def form_of(record: Body) -> Body:
    """What makes or updates a record, without access to it."""
    return {name: record[name] for name in _FORM if name in record}


def grants_of(record: Body) -> list[Body]:
    """Without the numbers and times that Open WebUI gives them."""
    fields = ("principal_type", "principal_id", "permission")
    grants = [{name: grant[name] for name in fields} for grant in record.get("access_grants") or []]
    return sorted(grants, key=lambda grant: tuple(grant.values()))


def _record(client: WebuiClient, model: str) -> Body | None:
    """One model: the list of presets has no background images, and lists are long."""
    record: Body | None = None
    try:
        record = client.get("/api/v1/models/model", id=model)
    except WebuiRefused as refused:
        if refused.status == 404:
            return None
        if refused.status != 401:
            raise
    if record is None or not record["write_access"]:
        # Without BYPASS_ADMIN_ACCESS_CONTROL the settings of others' models are left out, and would be lost when they
        # are saved. The list of all models but presets has them.
        record = next((one for one in client.get("/api/v1/models/base") if one["id"] == model), None)
    if record is None:
        raise CannotInstall(
            f"This account may not change the model {model}.",
            "Give the token of the admin who made it, or start Open WebUI with BYPASS_ADMIN_ACCESS_CONTROL=true.",
        )
    # Made from the system prompt for the page, not kept.
    record["meta"] = {name: one for name, one in (record["meta"] or {}).items() if name != "chat_variables_schema"}
    return record
