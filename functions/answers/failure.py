"""An error in place of an answer, in the only shape whose status Open WebUI passes on from a Function."""

import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from webui.bodies import Body
from webui.chat_completions import completion, completion_head, message_choice
from webui.guarded.upstream import UpstreamFailed

# Open WebUI's routes with Anthropic's API.
_MESSAGES = ("/api/message", "/api/v1/messages")


class Failure(StreamingResponse):
    """A reply with a status of its own: Open WebUI makes a plain object out of all others, with status 200."""

    def __init__(self, failed: UpstreamFailed) -> None:
        error = {"message": str(failed), "type": "upstream_error", "param": None, "code": failed.status}
        self.body = json.dumps({"error": error}).encode()
        """Where Open WebUI looks for the text that the page shows."""
        super().__init__(self._parts(), failed.status, media_type="application/json")

    @classmethod
    def of(cls, failed: UpstreamFailed, request: Request) -> "Failure | Body":
        """The error for those who sent this request."""
        if request.scope["path"].endswith(_MESSAGES):
            # Open WebUI would make an empty answer of an error there, but passes on what a model says.
            return completion(completion_head(""), [message_choice(str(failed), "stop")])
        return cls(failed)

    async def _parts(self) -> AsyncIterator[bytes]:
        yield bytes(self.body)
