"""The part of Open WebUI's API that an admin's program uses, for failures that a real one cannot be made to have.

tests/e2e/test_strangers_walk.py does the same with a real one. As strict as that: an unknown id is 401, and so is a
second one.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guard_server.install.plugin_files import FUNCTION_MODELS
from guard_server.open_webui.records import EVERYBODY

Body = dict[str, Any]
TOKEN = "sk-an-admins-token"
_USER_TOKEN = "sk-a-users-token"
_ABSENT = "We could not find what you're looking for :/"
_PROHIBITED = "You do not have permission to access this resource."
# What a model record has that was never set.
_UNSET: Body = {"params": {}, "is_active": True, "access_grants": []}


class AdminApi:
    """Two models, one of which everybody may use, and a preset on it. Attributes may be changed at any time."""

    def __init__(self) -> None:
        self.version = "0.12.4"
        self.role = "admin"
        """Of the account with `TOKEN`."""
        self.api_keys = True
        self.guard_status = 200
        """What a guard answers when it is asked for its models."""
        self.verified: Body = {"data": [{"id": "Qwen3Guard-Gen-4B"}]}
        self.fails_at = 0
        """The number of the change, from 1 on, that fails; 0 for none."""
        self.fails_late = False
        """Makes the change all the same."""
        self.failure: Response = JSONResponse({"detail": "database is locked"}, 500)
        """What the client gets then."""
        self.changes = 0
        self.requests: Counter[str] = Counter()
        """How often each path was asked."""
        self.asked: list[str] = []
        """The models that the admin asked."""
        self.answer = "Of course."
        self.may_write = True
        """Whether this admin may change the models."""
        self.after_change: Callable[[], None] = lambda: None
        self.functions: dict[str, Body] = {}
        self.settings: dict[str, Body] = {
            "openai": {
                "ENABLE_OPENAI_API": True,
                "OPENAI_API_BASE_URLS": ["http://models/v1"],
                "OPENAI_API_KEYS": ["sk-upstream-secret"],
                "OPENAI_API_CONFIGS": {},
            },
            "ollama": {"ENABLE_OLLAMA_API": False, "OLLAMA_BASE_URLS": [], "OLLAMA_API_CONFIGS": {}},
            "models": {"DEFAULT_MODELS": "open", "DEFAULT_PINNED_MODELS": None, "MODEL_ORDER_LIST": ["open", "closed"]},
            "tasks": {"TASK_MODEL": "", "TASK_MODEL_EXTERNAL": "open"},
            "arena": {"ENABLE_EVALUATION_ARENA_MODELS": True, "EVALUATION_ARENA_MODELS": []},
        }
        self.records: dict[str, Body] = {
            "open": _UNSET
            | {"id": "open", "base_model_id": None, "name": "Open", "meta": {}}
            | {"params": {"system": "Be kind.", "temperature": 0.5}, "access_grants": [EVERYBODY]},
            "preset": _UNSET
            | {"id": "preset", "base_model_id": "open", "name": "Preset", "meta": {"hidden": False}}
            | {"access_grants": [EVERYBODY]},
        }

    @property
    def app(self) -> Starlette:
        def route(path: str, answer: Callable[..., Any], method: str = "GET") -> Route:
            return Route(path, self._answering(answer, changes=method != "GET"), methods=[method])

        models, functions = "/api/v1/models", "/api/v1/functions"
        return Starlette(
            routes=[
                Route("/api/version", self._version),
                Route("/api/v1/users/user/settings", self._own_settings),
                route("/api/v1/users/", lambda **_: {"users": [], "total": 3}),
                route("/api/config", lambda **_: {"features": {"enable_functions": True}}),
                Route("/openai/verify", self._verify, methods=["POST"]),
                Route("/api/chat/completions", self._answer, methods=["POST"]),
                Route("/api/v1/models/model", self._model),
                *self._setting(route, "/openai/config", "/openai/config/update", "openai"),
                *self._setting(route, "/ollama/config", "/ollama/config/update", "ollama"),
                *self._setting(route, "/api/v1/configs/models", "/api/v1/configs/models", "models"),
                *self._setting(route, "/api/v1/tasks/config", "/api/v1/tasks/config/update", "tasks"),
                *self._setting(route, "/api/v1/evaluations/config", "/api/v1/evaluations/config", "arena"),
                route("/api/v1/pipelines/list", lambda **_: {"data": []}),
                route("/api/models", lambda **_: {"data": self._listed()}),
                route("/api/models/base", lambda **_: {"data": self._listed()}),
                route(f"{models}/base", lambda **_: [one for one in self.records.values() if not one["base_model_id"]]),
                route(f"{models}/export", lambda **_: self._exported()),
                route(f"{models}/create", self._create_model, "POST"),
                route(f"{models}/model/update", self._update_model, "POST"),
                route(f"{models}/model/access/update", self._grant, "POST"),
                route(
                    f"{models}/model/delete", lambda body, **_: bool(self._of(self.records, body["id"], "pop")), "POST"
                ),
                route(f"{functions}/export", lambda **_: list(self.functions.values())),
                route(f"{functions}/create", self._create_function, "POST"),
                route(f"{functions}/id/{{plugin}}/update", self._update_function, "POST"),
                route(
                    f"{functions}/id/{{plugin}}/toggle", lambda plugin, **_: self._toggle(plugin, "is_active"), "POST"
                ),
                route(
                    f"{functions}/id/{{plugin}}/toggle/global",
                    lambda plugin, **_: self._toggle(plugin, "is_global"),
                    "POST",
                ),
                route(f"{functions}/id/{{plugin}}/valves/update", self._set_valves, "POST"),
                route(
                    f"{functions}/id/{{plugin}}/delete",
                    lambda plugin, **_: bool(self.functions.pop(plugin, None)),
                    "DELETE",
                ),
            ]
        )

    def state(self) -> Body:
        """A copy of everything."""
        copied: Body = json.loads(json.dumps([self.settings, self.records, self.functions]))
        return copied

    def offered(self) -> set[str]:
        """The models that an ordinary user can choose and be answered by."""
        listed = {one["id"] for one in self._listed()}
        return {
            name
            for name, record in self.records.items()
            if record["access_grants"] and not record["meta"].get("hidden") and self._base(record) in listed
        }

    def _base(self, record: Body) -> str:
        """The model that answers; nothing if users may not use it."""
        base = str(record["base_model_id"] or record["id"])
        return base if self.records.get(base, _UNSET)["access_grants"] else ""

    def _listed(self) -> list[Body]:
        listed: list[Body] = [
            {"id": name, "name": name, "owned_by": "openai", "urlIdx": 0} for name in ("open", "closed")
        ]
        pipes = [one["id"] for one in self.functions.values() if one["type"] == "pipe" and one["is_active"]]
        # The guarded models are made of all others.
        for pipe in sorted(pipes, key=FUNCTION_MODELS.__eq__):
            made = [f"{pipe}.{one['id']}" for one in listed]
            listed += [{"id": one, "name": one, "owned_by": "openai", "pipe": {"type": "pipe"}} for one in made]
        return listed

    def _answering(self, answer: Callable[..., Any], *, changes: bool) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self.requests[request.url.path] += 1
            refused = self._refusal(request)
            if refused is not None:
                return refused
            if changes:
                self.changes += 1
            fails = changes and self.changes == self.fails_at
            if fails and not self.fails_late:
                return self.failure
            body = await request.json() if await request.body() else {}
            try:
                answered = answer(body=body, **request.path_params)
            except KeyError:
                return JSONResponse({"detail": _ABSENT}, 401)
            if changes:
                self.after_change()
            return self.failure if fails else JSONResponse(answered)

        return endpoint

    def _refusal(self, request: Request) -> Response | None:
        told = request.headers.get("authorization", "").removeprefix("Bearer ")
        if told not in (TOKEN, _USER_TOKEN):
            return JSONResponse({"detail": f"Invalid token {told}"}, 401)
        if not self.api_keys:
            return JSONResponse({"detail": "Use of API key is not enabled in the environment."}, 403)
        return None if self.role == "admin" else JSONResponse({"detail": _PROHIBITED}, 401)

    async def _version(self, _: Request) -> Response:
        return JSONResponse({"version": self.version})

    async def _own_settings(self, request: Request) -> Response:
        known = request.headers.get("authorization") == f"Bearer {TOKEN}"
        return JSONResponse({} if known else {"detail": "Invalid token"}, 200 if known else 401)

    async def _answer(self, request: Request) -> Response:
        self.asked.append((await request.json())["model"])
        return JSONResponse({"choices": [{"message": {"content": self.answer}}]})

    async def _model(self, request: Request) -> Response:
        found = self.records.get(request.query_params["id"])
        if found is None:
            return JSONResponse({"detail": _ABSENT}, 404)
        hidden: Body = {} if self.may_write else {"params": {}}
        return JSONResponse(found | hidden | {"write_access": self.may_write})

    def _exported(self) -> list[Body]:
        """Presets, without the addresses of their images."""
        presets = [one for one in self.records.values() if one["base_model_id"]]
        return [one | {"meta": one["meta"] | {"background_image_url": None}} for one in presets]

    async def _verify(self, _: Request) -> Response:
        return JSONResponse(self.verified, self.guard_status)

    def _setting(self, route: Callable[..., Route], read: str, write: str, name: str) -> list[Route]:
        def update(body: Body, **_: Any) -> Body:
            self.settings[name].update(body)
            return self.settings[name]

        return [route(read, lambda **_: self.settings[name]), route(write, update, "POST")]

    def _of(self, those: dict[str, Body], name: str, how: str = "get") -> Body:
        """Raises KeyError."""
        return those.pop(name) if how == "pop" else those[name]

    def _create_model(self, body: Body, **_: Any) -> Body:
        if body["id"] in self.records:
            raise KeyError
        self.records[body["id"]] = _UNSET | body
        return self.records[body["id"]]

    def _update_model(self, body: Body, **_: Any) -> Body:
        self.records[body["id"]] = self.records[body["id"]] | body
        return self.records[body["id"]]

    def _grant(self, body: Body, **_: Any) -> Body:
        self.records[body["id"]]["access_grants"] = body["access_grants"]
        return self.records[body["id"]]

    def _create_function(self, body: Body, **_: Any) -> Body:
        kind = "pipe" if "class Pipe" in body["content"] else "filter"
        state = {"type": kind, "is_active": False, "is_global": False, "valves": {}}
        self.functions[body["id"]] = body | state
        return self.functions[body["id"]]

    def _update_function(self, body: Body, plugin: str) -> Body:
        self.functions[plugin] = self.functions[plugin] | body
        return self.functions[plugin]

    def _toggle(self, plugin: str, name: str) -> Body:
        self.functions[plugin][name] = not self.functions[plugin][name]
        return self.functions[plugin]

    def _set_valves(self, body: Body, plugin: str) -> Body:
        self.functions[plugin]["valves"] = body
        return body
