"""What an admin does with the plugins of a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from demo.errors import NotBuilt, SetupFailed


class PluginHost(Protocol):
    """Plugins are named by their ids. Each step raises `SetupFailed` if Open WebUI refuses it."""

    log: str
    """The name of the program whose log has the plugins' lines."""

    def install(self, file: Path) -> None:
        """Installs a plugin unless the host already has exactly this file."""
        ...

    def valves(self, plugin: str) -> dict[str, Any]:
        """The values of all valves."""
        ...

    def set_valves(self, plugin: str, valves: dict[str, Any]) -> None:
        """Sets the given valves and keeps the others."""
        ...

    def check_filter(self, plugin: str) -> None:
        """Raises `SetupFailed` if the filter is not on for every model."""
        ...


def built(file: Path) -> bytes:
    """The content of a file of `dist/`. Raises `NotBuilt`."""
    if not file.exists():
        raise NotBuilt(f"{file} is missing: `make bundle` writes it.")
    return file.read_bytes()


def check_names(plugin: str, given: dict[str, Any], known: dict[str, Any]) -> None:
    """Raises `SetupFailed` if the plugin has no valve of one of the given names."""
    if unknown := given.keys() - known.keys():
        raise SetupFailed(f"{plugin} has no valve {', '.join(sorted(unknown))}; it has {', '.join(known)}.")
