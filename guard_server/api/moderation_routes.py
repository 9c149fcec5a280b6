"""All routes that judge for other tools: of `api`, and of vLLM's server with a Qwen3Guard-Gen."""

from collections.abc import Callable

from starlette.routing import BaseRoute

from guard_server.api import dify, litellm, moderations
from guard_server.api.described_route import DescribedRoute
from moderation.guard import Guard
from moderation.policy import Policy

DESCRIBED: tuple[DescribedRoute, ...] = (moderations.MODERATE, dify.MODERATE_FOR_DIFY, litellm.GUARDRAIL)


def routes(guard: Callable[[], Guard], policy: Policy | None = None) -> list[BaseRoute]:
    """The routes; `guard` is asked at each request. The default policy lets only Safe pass."""
    return [route for each in (moderations, dify, litellm) for route in each.routes(guard, policy)]
