"""Builds a plugin and loads it as the Pipelines server does: by path, and without putting it into `sys.modules`."""

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType

from pipelines.bundle import build


def load_built(plugin: str) -> ModuleType:
    path = Path(tempfile.mkdtemp()) / f"{plugin}.py"
    path.write_text(build(plugin), encoding="utf-8")
    return load(path)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
