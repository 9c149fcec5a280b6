"""Guarded models: Open WebUI's own models, with nothing unsafe going in or out, whichever way they are called."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from functions.answers.failure import Failure
from functions.answers.guarded_call import GuardedCall
from functions.answers.guarded_route import CHECK_ENTRY
from functions.answers.live_answer import LiveAnswer
from functions.host.host_modules import HostChanged
from functions.host.model_record import offer_hidden
from functions.host.own_models import matches, own_models
from functions.models_valves import FunctionModelsValves
from functions.moderation_service import ModerationService
from webui.bodies import Body, object_or_empty
from webui.chat_completions import chunk_head, end_chunk, error_chunk
from webui.guarded.streamed import Streamed
from webui.guarded.unstreamed import Unstreamed
from webui.guarded.upstream import UpstreamFailed
from webui.log import log
from webui.settings import words

# Open WebUI names a Function's module so, and tells the Function its id nowhere else (its utils/plugin.py).
_MODULE = re.compile(r"function_(.+)_[0-9a-f]{32}")
_HIDDEN_NAME = "Qwen3Guard (hidden)"
_HIDDEN_TEXT = "Qwen3Guard's filter sends requests through this model. It answers nobody who asks it directly."


class Pipe:
    """What Open WebUI loads. One object serves all requests of a worker."""

    Valves = FunctionModelsValves

    def __init__(self) -> None:
        self.name = ""
        self.valves = self.Valves()
        self._service = ModerationService()

    async def pipes(self) -> list[dict[str, str]]:
        """The guarded models, and the hidden entry."""
        valves = self.valves
        try:
            models = await own_models()
            # Our own list is no part of what is guarded.
            if models is None:
                return []
            await self._offer_hidden_entry()
        except HostChanged as changed:
            log.error("there are no guarded models: %s", changed)
            return []
        wanted = words(valves.models)
        entries = [
            {"id": model.id, "name": valves.model_names.replace("{model}", model.name)}
            for model in models
            if matches(model.id, wanted) and model.id != CHECK_ENTRY
        ]
        return [*entries, {"id": CHECK_ENTRY, "name": _HIDDEN_NAME}] if valves.hidden_entry else entries

    async def pipe(self, body: Body, __user__: Body, __request__: Request, __metadata__: Body) -> Any:
        """The answer: an object, or a response whose status and events Open WebUI passes on as they are."""
        call = GuardedCall(
            self._service.of(self.valves), self.valves, __request__, __user__, body, object_or_empty(__metadata__)
        )
        try:
            request = await call.guarded_request()
            if not body.get("stream"):
                return await Unstreamed(request).make()
            answer = LiveAnswer()
            return _streaming(answer, Streamed(request, answer))
        except UpstreamFailed as failed:
            return _failing(failed) if body.get("stream") else Failure.of(failed, __request__)

    async def _offer_hidden_entry(self) -> None:
        known = _MODULE.fullmatch(type(self).__module__)
        if known and self.valves.hidden_entry:
            await offer_hidden(f"{known[1]}.{CHECK_ENTRY}", _HIDDEN_NAME, _HIDDEN_TEXT)


def _streaming(answer: LiveAnswer, streamed: Streamed) -> StreamingResponse:
    return StreamingResponse(answer.lines(streamed.write), media_type="text/event-stream")


def _failing(failed: UpstreamFailed) -> StreamingResponse:
    """A stream that says the error and ends: Open WebUI gives streams no status."""
    answer = LiveAnswer()
    answer.write(error_chunk(str(failed), failed.status))
    answer.write(end_chunk(chunk_head(""), "error"))
    answer.end()
    return StreamingResponse(answer.lines(_nothing), media_type="text/event-stream")


async def _nothing() -> None:
    return
