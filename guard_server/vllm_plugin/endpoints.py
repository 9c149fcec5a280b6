"""Adds this project's routes to vLLM's server, depending on the tasks of the served model."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.routing import BaseRoute
from vllm.engine.protocol import EngineClient
from vllm.renderers.chat_utils import load_chat_template
from vllm.tasks import SupportedTask

from guard_server.api import moderation_routes, verdicts
from guard_server.stream import stream_routes
from guard_server.stream.sessions import Limits, Sessions
from guard_server.vllm_plugin import MODERATION_ENDPOINTS, STREAM_ENDPOINTS
from guard_server.vllm_plugin.engine_backend import EngineServer
from guard_server.vllm_plugin.engine_judge import EngineJudge
from guard_server.vllm_plugin.prompts import Prompts
from guard_server.vllm_plugin.stream_engine import VllmStreamModel
from moderation.guard import Guard

_AT_ONCE = 256
"""Maximum of concurrent verdicts of one server: as many as the engine computes in one step by default."""


class Mount(NamedTuple):
    """Some routes, and the service that they use. vLLM asks for the routes before there is an engine."""

    routes: Callable[[Callable[[], Any]], Sequence[BaseRoute]]
    """Makes the routes. Its argument returns, from the first request on, the service that `behind` made."""
    behind: Callable[[EngineClient, Namespace], Any]
    """Makes the service from the engine and vLLM's options."""


class Endpoints:
    """A plugin of vLLM's group `vllm.endpoint_plugins`: all routes that are added to models with a certain task."""

    def __init__(self, name: str, task: SupportedTask, mounts: Sequence[Mount]) -> None:
        self.name = name
        self.required_tasks: tuple[SupportedTask, ...] | None = (task,)
        self._mounts = mounts
        self._behind: dict[int, Any] = {}

    def attach_router(self, app: FastAPI) -> None:
        """Called by vLLM after it has added its own routes."""
        for number, mount in enumerate(self._mounts):
            # First in the list, since the router tries one route after another, and vLLM has dozens.
            app.router.routes[:0] = mount.routes(partial(self._behind.__getitem__, number))

    async def init_state(self, engine_client: EngineClient | None, state: State, args: Namespace) -> None:
        """Called by vLLM once the engine runs."""
        assert engine_client is not None, "only vLLM's render server has no engine, and it has no such task"
        for number, mount in enumerate(self._mounts):
            self._behind[number] = mount.behind(engine_client, args)


def stream_endpoints() -> Endpoints:
    """For a Qwen3Guard-Stream."""

    def sessions(client: EngineClient, args: Namespace) -> Sessions:
        return Sessions(VllmStreamModel(client, load_chat_template(args.chat_template)), Limits())

    streams = Mount(stream_routes.routes, sessions)
    return Endpoints(STREAM_ENDPOINTS, "token_classify", [streams])


class _GenGuard:
    """A Qwen3Guard-Gen: the engine itself, and a `Guard` in front of it with windows, cache and deadline."""

    def __init__(self, client: EngineClient, args: Namespace) -> None:
        template = load_chat_template(args.chat_template)
        prompts = Prompts(client.renderer.get_tokenizer(), template, args.default_chat_template_kwargs)
        names = args.served_model_name or [args.model]
        self.judge = EngineJudge(client, prompts, names)
        self.guard = Guard(EngineServer(self.judge, names[0]), concurrency=_AT_ONCE)


def moderation_endpoints() -> Endpoints:
    """For a Qwen3Guard-Gen."""

    def routes(gen: Callable[[], _GenGuard]) -> list[BaseRoute]:
        def guard() -> Guard:
            return gen().guard

        return [*moderation_routes.routes(guard), *verdicts.routes(lambda: gen().judge)]

    return Endpoints(MODERATION_ENDPOINTS, "generate", [Mount(routes, _GenGuard)])
