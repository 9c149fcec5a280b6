"""What this Open WebUI can do, as far as its version shows."""

import aiohttp

from moderation.endpoint.transport import new_session, proxy_for
from webui.guarded.host_version import can_retract
from webui.log import log

_ASK_SECONDS = 5


class Host:
    """Open WebUI at an address. Without an address, it is treated as the tested version."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self.retracts = url is None

    async def learn(self) -> None:
        """Ask for the version. If there is no answer, Open WebUI is treated as one that cannot take back anything."""
        if self._url is None:
            return
        patience = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        try:
            async with (
                new_session(timeout=patience, raise_for_status=True) as session,
                session.get(f"{self._url.rstrip('/')}/api/version", proxy=proxy_for(self._url)) as reply,
            ):
                told = await reply.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("%s does not tell its version: %s", self._url, error)
            told = None
        self.retracts = can_retract(told.get("version") if isinstance(told, dict) else None)
