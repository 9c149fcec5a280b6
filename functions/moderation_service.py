"""The moderator of the valves that hold now.

Open WebUI makes the valves anew several times a request, and one object of ours serves all requests on one event loop.
"""

import asyncio
import logging
from pathlib import Path

from functions.host.data_folder import data_folder
from functions.host.host_modules import HostChanged
from webui.current_service import CurrentService
from webui.log import log
from webui.moderator import ModerationValves, Moderator

# Answers that began under other settings are finished under them.
_KEEP_RETIRED_SECONDS = 1800


class ModerationService:
    """Makes a moderator when the values of the valves have changed."""

    def __init__(self) -> None:
        self._moderators: CurrentService[ModerationValves, Moderator] = CurrentService(_new_moderator, self._retire)
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, valves: ModerationValves) -> Moderator:
        """The moderator of these values. To be called on the event loop."""
        return self._moderators.of(valves)

    def _retire(self, moderator: Moderator) -> None:
        task = asyncio.get_running_loop().create_task(_close_later(moderator))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _new_moderator(valves: ModerationValves) -> Moderator:
    # One line for each check would fill Open WebUI's log.
    for library in ("httpx", "httpx2"):
        _quieten(logging.getLogger(library), valves.guard_base_url)
    try:
        home = data_folder()
    except HostChanged as changed:
        log.warning("%s: audit files go to the working folder, unless audit_path is set", changed)
        home = Path("qwen3guard")
    moderator = Moderator(valves, home)
    moderator.report([])
    return moderator


def _quieten(logger: logging.Logger, address: str) -> None:
    if not any(isinstance(entry, _RequestsTo) and entry.address == address for entry in logger.filters):
        logger.addFilter(_RequestsTo(address))


class _RequestsTo(logging.Filter):
    """Drops what an HTTP library says of each successful request to one address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is logged."""
        return record.levelno > logging.INFO or self.address not in record.getMessage()


async def _close_later(moderator: Moderator) -> None:
    try:
        await asyncio.sleep(_KEEP_RETIRED_SECONDS)
    finally:
        await moderator.aclose()
