"""The models that this Open WebUI has itself: of all its connections, and of other Functions."""

import asyncio
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from starlette.requests import Request

from functions.host.host_modules import from_host
from functions.host.model_record import records_of
from webui.bodies import object_or_empty, objects_in
from webui.log import log

# Other Functions list models as well, and may hang.
_LIST_SECONDS = 15
# Set while we ask: Open WebUI then asks us again, as one of its Functions.
_asking: ContextVar[bool] = ContextVar("asking", default=False)


class OwnModel(NamedTuple):
    """A model that can be asked."""

    id: str
    name: str
    """What users read, as an admin may have changed it."""


async def own_models() -> list[OwnModel] | None:
    """All of them, without those that an admin has switched off; None if it is we who ask, through Open WebUI.

    Raises:
        HostChanged
    """
    if _asking.get():
        return None
    list_all = from_host("utils.models", "get_all_base_models")
    listed: Any = []
    token = _asking.set(True)
    try:
        async with asyncio.timeout(_LIST_SECONDS):
            listed = await list_all(_new_request())
    except TimeoutError:
        log.warning("Open WebUI did not list its models in %s s: a connection or another Function hangs", _LIST_SECONDS)
    finally:
        _asking.reset(token)
    # Filters of a Pipelines server are listed among its models.
    models = [one for one in objects_in(listed) if object_or_empty(one.get("pipeline")).get("type") != "filter"]
    records = await records_of(str(model.get("id")) for model in models)
    found = []
    for model in models:
        name = str(model.get("id") or "")
        record = records.get(name)
        if name and (record is None or record.is_active):
            found.append(OwnModel(name, str(record.name if record else model.get("name") or name)))
    return found


def matches(model: str, patterns: list[str]) -> bool:
    """Whether a model is among those that an admin named, such as `llama*`."""
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _new_request() -> Request:
    """A request that nobody made: Open WebUI's lists want one for what it knows of the whole application."""
    app = from_host("main", "app")
    return Request({"type": "http", "app": app, "method": "GET", "path": "/", "query_string": b"", "headers": []})
