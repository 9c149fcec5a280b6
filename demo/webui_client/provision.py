"""Sets Open WebUI up like an admin does on its pages: accounts, connections, the pipelines and their valves, models.

Each step can run again on an existing setup. It keeps what the admin has changed or added on the page, except the few
settings that the demo needs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.errors import NotBuilt, SetupFailed
from demo.state import State
from demo.webui_client.protection import MODELS
from demo.webui_client.webui_api import Account, WebuiApi
from pipelines.upstreams.model_ids import is_guarded

EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}
LIST_SECONDS = 300


@dataclass(frozen=True)
class Connection:
    """An OpenAI-compatible server, as configured in Open WebUI.

    `url` is the part before `/chat/completions`. The key must not be empty: Open WebUI would then call no pipeline.
    """

    url: str
    key: str = "EMPTY"

    @classmethod
    def upstream_from_environment(cls) -> Connection | None:
        """The real chat model from UPSTREAM_BASE_URL and UPSTREAM_API_KEY; None if they are not set."""
        url = os.environ.get("UPSTREAM_BASE_URL", "").strip().rstrip("/")
        return cls(url, os.environ.get("UPSTREAM_API_KEY") or "EMPTY") if url else None


@dataclass(frozen=True)
class Setup:
    """The setup to reach.

    `direct`: whether Open WebUI is connected to the chat model itself; `files`: uploaded to the Pipelines server, in
    this order; `valves`: maps a pipeline's id to the valves to set (the others keep their values); `hidden`: models
    that everybody may use, but that the selector does not show; `direct_name`: display name of a direct model.
    """

    chat: Connection
    pipelines: Connection
    files: list[Path]
    direct: bool = True
    valves: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)
    direct_name: str = "{model}"

    @property
    def connections(self) -> list[Connection]:
        """In Open WebUI's order. The Pipelines server is the last."""
        return [*([self.chat] if self.direct else []), self.pipelines]

    @property
    def pipelines_index(self) -> int:
        """Index of the Pipelines server in Open WebUI's list of connections."""
        return len(self.connections) - 1


class Provisioner:
    """Applies a `Setup` to one Open WebUI. Raises `SetupFailed` if Open WebUI refuses a step."""

    def __init__(self, api: WebuiApi, state: State, setup: Setup) -> None:
        self.api = api
        self.state = state
        self.setup = setup
        self.again = False
        self.others: list[Connection] = []

    def run(self) -> None:
        self.sign_in_admin()
        self.make_user()
        self.connect()
        self.suggest()
        for file in self.setup.files:
            self.upload(file)
        for pipeline, valves in self.setup.valves.items():
            self.set_valves(pipeline, valves)
        self.publish_models()
        self.check_filters()

    def sign_in_admin(self) -> None:
        admin = Account.admin(self.state)
        self.again = not self.api.get("/api/config").get("onboarding")
        if not self.again:
            self.api.sign_up(admin)
            return
        try:
            self.api.sign_in(admin)
        except SetupFailed as error:
            raise SetupFailed(
                f"{error}\nOpen WebUI's database in {self.state.webui} has another admin than {self.state.folder}. "
                "Was the password changed on the page? `make clean` removes everything for a new start."
            ) from error

    def make_user(self) -> None:
        user = Account.user(self.state)
        known = self.api.get("/api/v1/users/all")["users"]
        if user.email not in {account["email"] for account in known}:
            form = {"name": user.name, "email": user.email, "password": user.password, "role": "user"}
            self.api.post("/api/v1/auths/add", form)

    def connect(self) -> None:
        """Set the connections: first ours, then those that the admin added. Ours of an earlier start are removed."""
        before = self.api.get("/openai/config") if self.again else {}
        urls, keys = before.get("OPENAI_API_BASE_URLS", []), before.get("OPENAI_API_KEYS", [])
        details = {url: before["OPENAI_API_CONFIGS"].get(str(at), {}) for at, url in enumerate(urls)}
        ours = self.setup.connections
        once_ours = {*self.state.wired, self.setup.chat.url, self.setup.pipelines.url}
        self.others = [Connection(url, key) for url, key in zip(urls, keys, strict=False) if url not in once_ours]
        wanted = [*ours, *self.others]
        self.state.wired = [one.url for one in ours]
        self.api.post(
            "/openai/config/update",
            {
                "ENABLE_OPENAI_API": True,
                "OPENAI_API_BASE_URLS": [one.url for one in wanted],
                "OPENAI_API_KEYS": [one.key for one in wanted],
                "OPENAI_API_CONFIGS": {str(at): details.get(one.url, {}) for at, one in enumerate(wanted)},
            },
        )

    def upload(self, file: Path) -> None:
        """Uploads a pipeline unless the server already has exactly this file.

        Pipelines reports success even for a file that it could not load (and moves that file away), so the list of
        loaded pipelines is checked.
        """
        if not file.exists():
            raise NotBuilt(f"{file} is missing: `make bundle` writes it.")
        held = self.state.pipelines / file.name
        if not (held.exists() and held.read_bytes() == file.read_bytes()):
            form = {"urlIdx": str(self.setup.pipelines_index)}
            self.api.upload("/api/v1/pipelines/upload", form, file.name, file.read_bytes())
        listed = self.api.get("/api/v1/pipelines/", urlIdx=self.setup.pipelines_index)["data"]
        if file.stem not in {pipeline["name"] for pipeline in listed}:
            raise SetupFailed(f"The Pipelines server could not load {file.name}: {self._why_not_loaded(file.stem)}")

    def set_valves(self, pipeline: str, valves: dict[str, Any]) -> None:
        """Sets the given valves and keeps the others."""
        path = f"/api/v1/pipelines/{pipeline}/valves"
        before = self.api.get(path, urlIdx=self.setup.pipelines_index)
        if unknown := valves.keys() - before.keys():
            raise SetupFailed(f"{pipeline} has no valve {', '.join(sorted(unknown))}; it has {', '.join(before)}.")
        if before | valves != before:
            self.api.post(f"{path}/update?urlIdx={self.setup.pipelines_index}", before | valves)

    def publish_models(self) -> None:
        """Lets everybody use the chat models and the hidden ones. By default a model is visible to admins only."""
        models = self._models()
        known = {model["id"] for model in self.api.get("/api/v1/models/base")}
        for name in [*models, *self.setup.hidden]:
            if name not in known:
                form = {
                    "id": name,
                    "base_model_id": None,
                    "name": models.get(name, name),
                    "meta": {"hidden": name in self.setup.hidden},
                    "params": {},
                    "access_grants": [EVERYBODY],
                }
                self.api.post("/api/v1/models/create", form)
        self._prefer_guarded(list(models))

    def check_filters(self) -> None:
        """Check that the filter is on for every model: its `pipelines` must be exactly `["*"]`."""
        uploaded = {file.stem for file in self.setup.files}
        for model in self.api.get(f"/openai/models/{self.setup.pipelines_index}")["data"]:
            pipeline = model.get("pipeline") or {}
            if model["id"] in uploaded and pipeline.get("type") == "filter" and pipeline.get("pipelines") != ["*"]:
                raise SetupFailed(
                    f"The filter {model['id']} is on for {pipeline.get('pipelines')} only: set its valve `pipelines` "
                    "to * (Admin Panel > Settings > Pipelines)."
                )

    def suggest(self) -> None:
        """Shows the example prompts on the page of a new chat. Only at the first start: the admin may change them."""
        if self.again:
            return
        suggestions = [{"title": [prompt, ""], "content": prompt} for prompt in self.setup.suggestions]
        self.api.post("/api/v1/configs/suggestions", {"suggestions": suggestions})

    def _why_not_loaded(self, name: str) -> str:
        """The reason, from the server's log: it prints it after this line, and does not return it."""
        log = self.state.log("pipelines")
        _, _, reason = log.read_text(errors="replace").rpartition(f"Error loading module: {name}\n")
        return f"{reason.partition(chr(10))[0]} ({log})"

    def _prefer_guarded(self, models: list[str]) -> None:
        """Make the first guarded model the default for new chats, if there is a choice and the admin made none."""
        guarded = [name for name in models if is_guarded(name)]
        chosen = self.api.get("/api/v1/configs/models")
        if 0 < len(guarded) < len(models) and not chosen["DEFAULT_MODELS"]:
            self.api.post("/api/v1/configs/models", chosen | {"DEFAULT_MODELS": guarded[0]})

    def _models(self) -> dict[str, str]:
        """Id and name of the chat models. Waits until Open WebUI lists those of each connection and the hidden ones."""
        deadline = time.monotonic() + LIST_SECONDS
        while True:
            listed = self.api.get("/api/models", refresh=True)["data"]
            direct = {model["id"]: model["name"] for model in listed if self._is_direct(model)}
            guarded = {model["id"]: model["name"] for model in listed if is_guarded(model["id"])}
            missing = set(self.setup.hidden) - {model["id"] for model in listed}
            lacking = self._lacking(direct, guarded, missing)
            if not lacking:
                name = self.setup.direct_name
                return guarded | {model: name.replace("{model}", was) for model, was in direct.items()}
            if time.monotonic() > deadline:
                raise SetupFailed(lacking)
            time.sleep(1)

    def _is_direct(self, model: dict[str, Any]) -> bool:
        return self.setup.direct and model.get("urlIdx") == 0

    def _lacking(self, direct: dict[str, str], guarded: dict[str, str], missing: set[str]) -> str:
        """A message about what Open WebUI does not list yet; empty if it lists everything."""
        if self.setup.direct and not direct:
            return (
                f"Open WebUI lists no model of {self.setup.chat.url}. Is it an OpenAI-compatible server, and is the "
                "key right?"
            )
        log = self.state.log("pipelines")
        if MODELS in {file.stem for file in self.setup.files} and not guarded:
            return f"Open WebUI lists no guarded model: {log} has the reply of the chat model's server."
        return f"Open WebUI does not list {', '.join(sorted(missing))}: see {log}" if missing else ""
