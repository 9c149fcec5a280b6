"""`GET /health`, `/v1/models` and `/openapi.json` of `api`. A guard of `serve` has vLLM's own."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from guard_server.api import moderation_routes
from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import NoVerdict
from guard_server.api.http_exchange import json_response, model_response
from guard_server.api.openapi_document import document
from moderation.conversation import Turn
from moderation.endpoint.backend import Server
from moderation.errors import EndpointError
from moderation.guard import Guard

_HARMLESS = [Turn("user", "Good morning!")]
# However often it is asked for, the guard is asked once in this many seconds.
_FRESH_SECONDS = 5.0

_log = logging.getLogger(__name__)


class HealthReply(BaseModel):
    """The guard has just given a verdict."""

    status: Literal["ok"] = "ok"


class ApiModel(BaseModel):
    """One model, as OpenAI lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "qwen3guard"


class ApiModels(BaseModel):
    """The guard that judges."""

    object: Literal["list"] = "list"
    data: list[ApiModel]


HEALTH = DescribedRoute(
    "GET", "/health", "Whether the guard gives verdicts.", (HealthReply,), errors=(NoVerdict,), is_open=True
)
MODELS = DescribedRoute("GET", "/v1/models", "The guard's model.", (ApiModels,), errors=(NoVerdict,))
DESCRIBED: tuple[DescribedRoute, ...] = (HEALTH, MODELS)
OPENAPI = DescribedRoute("GET", "/openapi.json", "This description.", (), is_open=True)


def routes(server: Server, guard: Guard) -> list[BaseRoute]:
    """The routes; `guard` judges with `server`."""
    status = _Status(server, guard)
    return [HEALTH.at(status.health), MODELS.at(status.models), OPENAPI.at(_describe)]


class _Status:
    def __init__(self, server: Server, guard: Guard) -> None:
        self._server = server
        self._guard = guard
        self._asked_at = -math.inf
        self._problem: str | None = None
        self._one_at_a_time = asyncio.Lock()

    async def health(self, request: Request) -> Response:
        async with self._one_at_a_time:
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                # Not `judge`, whose verdict could be a cached one.
                verdict = await self._guard.attempt(partial(self._server.ask, _HARMLESS))
                self._asked_at, self._problem = time.monotonic(), verdict.problem
            if self._problem is not None:
                raise _unhealthy(self._problem)
        return model_response(HealthReply())

    async def models(self, request: Request) -> Response:
        try:
            facts = await self._server.learn()
        except EndpointError as error:
            raise _unhealthy(str(error)) from None
        return model_response(ApiModels(data=[ApiModel(id=facts.model)]))


async def _describe(request: Request) -> Response:
    return json_response(_description())


@cache
def _description() -> dict[str, Any]:
    groups: Mapping[str, Sequence[DescribedRoute]] = {"this server": (*moderation_routes.DESCRIBED, *DESCRIBED)}
    return document(groups)


def _unhealthy(problem: str) -> NoVerdict:
    # The cause may name internal addresses, which clients must not see.
    _log.warning("no verdict: %s", problem)
    return NoVerdict("the guard gives no verdict, so nothing passes: the log says why")
