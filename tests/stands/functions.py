"""The single files of `dist/` that are pasted into Open WebUI, loaded as it does (its utils/plugin.py)."""

import sys
import types
import uuid
from typing import Any

from tools.bundle import build

_REPLACED = {
    "from utils": "from open_webui.utils",
    "from apps": "from open_webui.apps",
    "from main": "from open_webui.main",
    "from config": "from open_webui.config",
}


def load_function(plugin: str) -> Any:
    """The object that Open WebUI keeps for all requests."""
    text = build(plugin)
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    name = f"function_{plugin}_{uuid.uuid4().hex}"
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, f"<{plugin}>", "exec"), module.__dict__)
    return module.Pipe() if hasattr(module, "Pipe") else module.Filter()
