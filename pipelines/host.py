"""What this Open WebUI can do, as far as its version tells."""

import asyncio
import re

import openai

from pipelines.log import log

# The versions that were seen to take a shown answer back when told so by `retraction_chunk`.
_RETRACTING = ((0, 12),)
_ASK_SECONDS = 5


class Host:
    """Open WebUI at an address; without one, the version that is tested."""

    def __init__(self, url: str | None) -> None:
        self._client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) if url else None
        self.retracts = url is None

    async def learn(self) -> None:
        """Ask for the version; an Open WebUI that cannot be asked is taken to retract nothing."""
        if self._client is None:
            return
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                told = await self._client.get("/api/version", cast_to=object)
        except (openai.OpenAIError, TimeoutError, ValueError) as error:
            log.warning("%s does not tell its version: %s", self._client.base_url, error)
            told = None
        version = told.get("version") if isinstance(told, dict) else None
        found = re.match(r"v?(\d+)\.(\d+)", str(version))
        self.retracts = found is not None and (int(found[1]), int(found[2])) in _RETRACTING

    async def aclose(self) -> None:
        if self._client:
            await self._client.close()
