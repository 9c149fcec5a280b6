"""The modules of Open WebUI that Functions ask, as far as they ask them: for what a real one cannot be made to do.

tests/integration/test_host_sources.py compares the names and signatures with the real ones.
"""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.requests import Request

from tests.stands.chats import USER
from webui.bodies import Body

ADMIN = {**USER, "id": "a1", "role": "admin"}


class _User(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    role: str


class _Params(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str
    name: str
    base_model_id: str | None = None
    user_id: str = ADMIN["id"]
    is_active: bool = True
    params: _Params = _Params()
    meta: Body = {}
    access_grants: list[Body] = []


class OwnWebui:
    """Attributes may be changed at any time; `asked` holds what models were asked."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.reply: Any = None
        """What a model answers, or raises; if it is callable, it is called with the request first."""
        self.asked: list[Body] = []
        self.requests: list[Request] = []
        self.options: list[Body] = []
        self.listed: list[Body] = [{"id": "demo-chat", "name": "Demo chat"}]
        self.functions: list[Any] = []
        """Other Functions that list models."""
        self.records: dict[str, _Record] = {}
        self.granted = {"demo-chat"}
        """The models that users may use."""
        self.filters: list[tuple[str, bool]] = []
        self.users = {one["id"]: _User(**one) for one in (USER, ADMIN)}
        self.app = Starlette()
        self.app.state.MODELS = {}

    def record(self, model: str, **more: Any) -> None:
        self.records[model] = _Record(**{"id": model, "name": model, **more})

    def request(self, path: str = "/api/chat/completions", **state: Any) -> Request:
        """A request that a user made."""
        self.app.state.MODELS = {name: {"id": name} for name in {*self.records, *(one["id"] for one in self.listed)}}
        return Request({"type": "http", "app": self.app, "method": "POST", "path": path, "headers": [], "state": state})

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Functions that ask Open WebUI ask this one."""
        modules: dict[str, dict[str, Any]] = {
            "env": {"VERSION": "0.12.4", "DATA_DIR": self.data, "BYPASS_MODEL_ACCESS_CONTROL": False},
            "main": {"app": self.app},
            "models.functions": {"Functions": SimpleNamespace(get_active_filter_ids=self._filters)},
            "models.models": {
                "ModelForm": _Record,
                "Models": SimpleNamespace(
                    get_model_by_id=self._record,
                    get_models_by_ids=self._records,
                    insert_new_model=self._insert,
                ),
            },
            "models.users": {
                "UserModel": _User,
                "Users": SimpleNamespace(get_user_by_id=self._user, get_super_admin_user=self._admin),
            },
            "utils.chat": {"generate_chat_completion": self._generate},
            "utils.misc": {"add_or_update_system_message": self._put_system},
            "utils.models": {"get_all_base_models": self._list, "check_model_access": self._check_access},
            "utils.payload": {"resolve_system_prompt": self._resolve},
        }
        made: dict[str, types.ModuleType] = {name: types.ModuleType(name) for name in _parents(modules)}
        for name, content in modules.items():
            made[f"open_webui.{name}"] = module = types.ModuleType(name)
            vars(module).update(content)
        sys.modules.update(made)
        try:
            yield
        finally:
            for name in made:
                del sys.modules[name]

    async def _generate(self, request: Request, form_data: Body, user: _User, **options: Any) -> Any:
        self.requests.append(request)
        self.asked.append({**form_data, "messages": [dict(message) for message in form_data["messages"]]})
        self.options.append({**options, "user": user})
        # As the real one, which writes into both.
        request.state.bypass_filter = options["bypass_filter"]
        form_data["messages"].insert(0, {"role": "system", "content": "written by the host"})
        reply = self.reply(form_data) if callable(self.reply) else self.reply
        if isinstance(reply, BaseException):
            raise reply
        return await reply if hasattr(reply, "__await__") else reply

    async def _list(self, request: Request) -> list[Body]:
        for function in self.functions:
            await function.pipes()
        return self.listed

    async def _filters(self) -> list[tuple[str, bool]]:
        return self.filters

    async def _record(self, model: str) -> _Record | None:
        return self.records.get(model)

    async def _records(self, models: list[str]) -> list[_Record]:
        return [self.records[model] for model in models if model in self.records]

    async def _insert(self, record: _Record, user: str) -> None:
        self.records[record.id] = record.model_copy(update={"user_id": user})

    async def _user(self, name: str) -> _User | None:
        return self.users.get(name)

    async def _admin(self) -> _User:
        return self.users[str(ADMIN["id"])]

    async def _check_access(self, user: _User, model: Body) -> None:
        if model["id"] not in self.granted:
            raise Exception("Model not found")

    async def _resolve(self, system: str, metadata: Body, user: _User) -> str:
        for name, value in (metadata.get("variables") or {}).items():
            system = system.replace(name, value)
        return system

    def _put_system(self, content: str, messages: list[Body]) -> list[Body]:
        if messages and messages[0]["role"] == "system":
            messages[0]["content"] = f"{content}\n{messages[0]['content']}"
        else:
            messages.insert(0, {"role": "system", "content": content})
        return messages


def _parents(modules: dict[str, Any]) -> set[str]:
    return {"open_webui", *(f"open_webui.{name.rpartition('.')[0]}" for name in modules if "." in name)}
