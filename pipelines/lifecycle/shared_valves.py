"""The valves that all workers of a Pipelines server share: in a file.

Each worker keeps a plugin's valves in its memory. Save reaches one worker, which writes the file; nothing informs the
others (the server's main.py, update_valves). So each worker looks whether the file has changed.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from webui.log import log

# Two looks a second: all workers agree within one.
_LOOK_SECONDS = 0.5


class FollowingPlugin(Protocol):
    """A plugin as the Pipelines server knows it."""

    valves: Any

    async def on_valves_updated(self) -> None:
        """The server calls this after a Save."""


class SharedValves:
    """Gives a plugin the valves that another worker has saved. For the server's event loop.

    Args:
        home: the plugin's folder, where the server keeps its valves.
        plugin: gets them.
    """

    def __init__(self, home: Path, plugin: FollowingPlugin) -> None:
        self._file = home / "valves.json"
        self._plugin = plugin
        self._seen: tuple[int, int, int] | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the file from now on."""
        self.stop()
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def stop(self) -> None:
        """Follow it no longer."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    async def _follow(self) -> None:
        while True:
            try:
                await self._catch_up()
            except Exception:
                log.exception("%s could not be followed", self._file)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _catch_up(self) -> None:
        version = self._version()
        if version is None or version == self._seen:
            return
        saved = None
        # A worker may be writing: then the file is read at the next look.
        with suppress(OSError, ValueError):
            saved = json.loads(self._file.read_text())
        if not isinstance(saved, dict):
            return
        self._seen = version
        valves = type(self._plugin.valves)(**saved)
        if valves.model_dump() != self._plugin.valves.model_dump():
            log.info("%s was saved by another worker: its valves are used", self._file)
            self._plugin.valves = valves
            await self._plugin.on_valves_updated()

    def _version(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
