"""The single files that are installed: those of `dist/` in a checkout, those that the wheel brought elsewhere."""

import re
from dataclasses import dataclass
from pathlib import Path

from guard_server.errors import PluginFileMissing

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "install_files", _PACKAGE.parent / "dist")
_VERSION = re.compile(r"^version: *(\S+)", re.MULTILINE)

FUNCTION_FILTER = "qwen3guard_function_filter"
FUNCTION_MODELS = "qwen3guard_function_models"
PIPELINES_FILTER = "qwen3guard_filter"
PIPELINES_MODELS = "qwen3guard_models"
PIPELINES_REFUSAL = "qwen3guard_refusal"


@dataclass(frozen=True)
class PluginFile:
    """A file, whose name is the id of its plugin."""

    id: str
    text: str

    @property
    def version(self) -> str:
        found = _VERSION.search(self.text[:2000])
        return found[1] if found else ""

    @property
    def description(self) -> str:
        found = re.search(r"^description: *(.+)", self.text[:2000], re.MULTILINE)
        return found[1] if found else ""


def plugin_file(plugin: str) -> PluginFile:
    """Raises PluginFileMissing."""
    for folder in _FOLDERS:
        file = folder / f"{plugin}.py"
        if file.is_file():
            return PluginFile(plugin, file.read_text(encoding="utf-8"))
    raise PluginFileMissing(
        f"{plugin}.py is missing.", "Install the wheel again, or run `make bundle` in the checkout."
    )
