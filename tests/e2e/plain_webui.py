"""An Open WebUI with nothing of ours, for the commands that set one up: models, a preset, a group, three users."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.webui_client.host import FILTER, FILTER_REFUSAL
from demo.webui_client.protection import Protection
from demo.webui_client.webui_api import Account, WebuiApi
from guard_server.open_webui.records import EVERYBODY
from tests.e2e.guarded_stack import GuardedStack

OPEN, TEAMS, PRESET = "demo-chat", "demo-chat-2", "harbour"
_TEAM = Account("Team user", "team@localhost", "a-password-for-tests")
_OTHER = Account("Other user", "other@localhost", "a-password-for-tests")
# What differs after each change, and says nothing.
_PASSING = {"version_id", "updated_at", "created_at", "id", "resource_id", "resource_type"}
# One grey point, as PNG.
_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)
Body = dict[str, Any]


class PlainWebui:
    """`team` may use both models, all others one of them and the preset."""

    def __init__(self, guarded: GuardedStack) -> None:
        self.guarded = guarded
        self.stack = guarded.stack
        self.admin = guarded.stack.admin
        self.user = guarded.stack.user
        self.team = WebuiApi(guarded.stack.webui_url)

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[PlainWebui]:
        # With the filter, a Pipelines server is connected, and the models are there for everybody.
        with GuardedStack.running(folder, Protection.FILTER) as guarded:
            plain = cls(guarded)
            plain.make_plain()
            yield plain
            plain.team.http.close()

    def make_plain(self) -> None:
        # As strict as an admin may choose: the check makes its account all the same.
        accounts = self.admin.get("/api/v1/auths/admin/config")
        strict = {"ENABLE_SIGNUP": False, "ENABLE_API_KEYS": False, "DEFAULT_USER_ROLE": "pending"}
        self.admin.post("/api/v1/auths/admin/config", accounts | strict)
        index = self.stack.setup.pipelines_index
        for plugin in (FILTER, FILTER_REFUSAL):
            reply = self.admin.http.request("DELETE", "/api/v1/pipelines/delete", json={"id": plugin, "urlIdx": index})
            reply.raise_for_status()
        self.admin.post("/api/v1/models/model/delete", {"id": FILTER_REFUSAL})
        for account in (_TEAM, _OTHER):
            form = {"name": account.name, "email": account.email, "password": account.password, "role": "user"}
            self.admin.post("/api/v1/auths/add", form)
        self.team.sign_in(_TEAM)
        group = self.admin.post("/api/v1/groups/create", {"name": "team", "description": "a team"})["id"]
        users = {one["email"]: one["id"] for one in self.admin.get("/api/v1/users/all")["users"]}
        self.admin.post(f"/api/v1/groups/id/{group}/users/add", {"user_ids": [users[_TEAM.email]]})
        grant = {"principal_type": "group", "principal_id": group, "permission": "read"}
        self.admin.post("/api/v1/models/model/access/update", {"id": TEAMS, "access_grants": [grant]})
        preset = {
            "id": PRESET,
            "base_model_id": OPEN,
            "name": "Harbour master",
            "meta": {"background_image_url": f"/api/v1/files/{self._image()}/content"},
            "access_grants": [EVERYBODY],
        }
        self.admin.post("/api/v1/models/create", preset | {"params": {"system": "You are the harbour master."}})
        settings = self.admin.get("/api/v1/configs/models")
        self.admin.post(
            "/api/v1/configs/models", settings | {"DEFAULT_MODELS": OPEN, "MODEL_ORDER_LIST": [TEAMS, OPEN]}
        )
        tasks = self.admin.get("/api/v1/tasks/config")
        self.admin.post("/api/v1/tasks/config/update", tasks | {"TASK_MODEL_EXTERNAL": OPEN})

    def _image(self) -> str:
        """The id of a file. The export of presets has the image itself, so that a lost one is seen."""
        image = {"file": ("harbour.png", _IMAGE, "image/png")}
        reply = self.admin.http.post("/api/v1/files/", params={"process": False}, files=image)
        reply.raise_for_status()
        return str(reply.json()["id"])

    def models(self, who: WebuiApi) -> set[str]:
        """What an account can choose."""
        listed = who.get("/api/models", refresh=True)["data"]
        return {one["id"] for one in listed if not ((one.get("info") or {}).get("meta") or {}).get("hidden")}

    def objects(self) -> Body:
        """Everything that an installation may touch, object by object."""
        paths = (
            "/openai/config",
            "/ollama/config",
            "/api/v1/functions/export",
            "/api/v1/models/base",
            "/api/v1/models/export",
            "/api/v1/configs/models",
            "/api/v1/tasks/config",
            "/api/v1/evaluations/config",
        )
        found = {path: self.admin.get(path) for path in paths}
        urls = found["/openai/config"]["OPENAI_API_BASE_URLS"]
        if (server := self.stack.pipelines.url) in urls:
            found["pipelines"] = self.admin.get("/api/v1/pipelines/", urlIdx=urls.index(server))["data"]
        for path in ("/api/v1/models/base", "/api/v1/models/export"):
            found[path] = {one["id"]: _lasting(one) for one in found[path]}
        return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(one) for name, one in value.items() if name not in _PASSING}
    return [_lasting(one) for one in value] if isinstance(value, list) else value
