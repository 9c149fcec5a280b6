"""The settings that a user can change on the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from demo.webui_client.webui_api import WebuiApi

_PATH = "/api/v1/users/user/settings"


@contextmanager
def interface(api: WebuiApi, **chosen: Any) -> Iterator[None]:
    """Settings of the interface, set inside the context: `params` is for the models, such as `stream_response`."""
    before = api.get(_PATH) or {}
    api.post(f"{_PATH}/update", {**before, "ui": {**(before.get("ui") or {}), **chosen}})
    try:
        yield
    finally:
        api.post(f"{_PATH}/update", before)
