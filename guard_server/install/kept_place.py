"""Places in Open WebUI that hold one value each. What is read there can be written back.

A value is plain JSON without keys or tokens, so that it can be kept in a file; None means that nothing is there.
"""

from dataclasses import asdict
from typing import Any, ClassVar, Protocol

from guard_server.install.function_places import FunctionFile, FunctionSwitch, FunctionValves
from guard_server.install.model_places import ModelField, ModelGrants, ModelRecordPlace
from guard_server.install.pipeline_places import PipelineFile, PipelineValves
from guard_server.install.setting_places import ConnectionSwitch, PipelinesConnection, Setting
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body


class KeptPlace(Protocol):
    """Each is a dataclass, whose fields and `kind` name it in a file, and whose `str` names it to an admin."""

    kind: ClassVar[str]

    def read(self, client: WebuiClient) -> Any: ...

    def write(self, client: WebuiClient, value: Any) -> None: ...


_KINDS: dict[str, type[Any]] = {
    place.kind: place
    for place in (
        ModelRecordPlace,
        ModelGrants,
        ModelField,
        Setting,
        ConnectionSwitch,
        FunctionFile,
        FunctionSwitch,
        FunctionValves,
        PipelinesConnection,
        PipelineFile,
        PipelineValves,
    )
}


def named(place: Any) -> Body:
    """A place in words that `place_of` reads, without keys, as JSON gives them back."""
    fields = {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(place).items()}
    return {"kind": place.kind} | {name: one for name, one in fields.items() if name != "key"}


def place_of(name: Body) -> KeptPlace:
    """The place that `named` wrote down. Raises LookupError or TypeError for one that this version does not have."""
    fields = {field: tuple(one) if isinstance(one, list) else one for field, one in name.items() if field != "kind"}
    place: KeptPlace = _KINDS[name["kind"]](**fields)
    return place
