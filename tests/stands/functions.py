"""The single files of `dist/` that are pasted into Open WebUI, loaded as it does (its utils/plugin.py)."""

import asyncio
import sys
import types
import uuid
from functools import cache
from typing import Any

from tests.stands.patience import lift_limits
from tools.bundle import build

_REPLACED = {
    "from utils": "from open_webui.utils",
    "from apps": "from open_webui.apps",
    "from main": "from open_webui.main",
    "from config": "from open_webui.config",
}


def load_function(plugin: str) -> Any:
    """The object that Open WebUI keeps for all requests, as new."""
    module = _module(plugin)
    return module.Pipe() if hasattr(module, "Pipe") else module.Filter()


@cache
def _module(plugin: str) -> types.ModuleType:
    """All tests of a process share it."""
    text = build(plugin)
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    name = f"function_{plugin}_{uuid.uuid4().hex}"
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, f"<{plugin}>", "exec"), module.__dict__)
    lift_limits(module.__dict__)
    return module


async def closed(function: Any) -> None:
    """Close what it opened: Open WebUI never says that it stops."""
    service = function._service
    for task in list(service._closing):
        task.cancel()
    await asyncio.gather(*service._closing, return_exceptions=True)
    if moderator := service._moderators.take():
        await moderator.aclose()
