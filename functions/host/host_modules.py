"""Open WebUI's modules: the only place that imports them, when a request needs them.

A Function whose file fails to load is switched off in the database, and stays off; so nothing is imported at load.
"""

import importlib
from typing import Any


class HostChanged(Exception):
    """This Open WebUI has no such module or name: its version is another one than those that were tested."""


def from_host(module: str, name: str) -> Any:
    """What Open WebUI calls `name` in `module`, such as `models.chats`.

    Raises:
        HostChanged
    """
    try:
        return getattr(importlib.import_module(f"open_webui.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise HostChanged(f"this version of Open WebUI has no {name} in open_webui.{module}") from error
