"""An error in place of an answer, in the only shape whose status Open WebUI passes on from a Function."""

import json
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from webui.guarded.upstream import UpstreamFailed


class Failure(StreamingResponse):
    """A reply with a status of its own: Open WebUI makes a plain object out of all others, with status 200."""

    def __init__(self, failed: UpstreamFailed) -> None:
        error = {"message": str(failed), "type": "upstream_error", "param": None, "code": failed.status}
        self.body = json.dumps({"error": error}).encode()
        """Where Open WebUI looks for the text that the page shows."""
        super().__init__(self._parts(), failed.status, media_type="application/json")

    async def _parts(self) -> AsyncIterator[bytes]:
        yield bytes(self.body)
