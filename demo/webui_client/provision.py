"""Sets Open WebUI up like an admin does on its pages: accounts, connections, the plugins and their valves, models.

Each step can run again on an existing setup. It keeps what the admin has changed or added on the page, except the few
settings that the demo needs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

from demo.errors import SetupFailed
from demo.state import State
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import Host
from demo.webui_client.pipelines_host import PipelinesHost
from demo.webui_client.plugin_host import PluginHost
from demo.webui_client.protection import Protection
from demo.webui_client.webui_api import Account, WebuiApi
from functions.answers.guarded_route import CHECK_ENTRY
from guard_server.open_webui.records import EVERYBODY
from pipelines.upstreams.model_ids import REFUSAL_ENTRY

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

    `pipelines`: the Pipelines server, for the host of this name; `valves`: maps a plugin's id to the valves to set (the
    others keep their values).
    """

    host: Host
    protection: Protection
    chat: Connection
    pipelines: Connection
    valves: dict[str, dict[str, Any]] = field(default_factory=dict)
    suggestions: list[str] = field(default_factory=list)

    @property
    def connections(self) -> list[Connection]:
        """In Open WebUI's order. The Pipelines server is the last.

        Guarded models of the Pipelines server bring their own connection; Functions use Open WebUI's.
        """
        if self.host is Host.FUNCTIONS:
            return [self.chat]
        return [*([self.chat] if self.protection.direct else []), self.pipelines]

    @property
    def pipelines_index(self) -> int:
        """Index of the Pipelines server in Open WebUI's list of connections."""
        return len(self.connections) - 1

    @property
    def hidden(self) -> list[str]:
        """Models that everybody may use, but that the selector does not show."""
        refusal = self.host.refusal(self.protection)
        return [refusal] if refusal else []

    def plugins(self, api: WebuiApi, state: State) -> PluginHost:
        """The host, for the admin of this setup."""
        return FunctionsHost(api) if self.host is Host.FUNCTIONS else PipelinesHost(api, state, self.pipelines_index)

    def is_guarded(self, model: str) -> bool:
        """Whether this is a guarded model by its id."""
        entries = {REFUSAL_ENTRY, CHECK_ENTRY}
        return model.startswith(f"{self.host.models}.") and model.partition(".")[2] not in entries


class Provisioner:
    """Applies a `Setup` to one Open WebUI. Raises `SetupFailed` if Open WebUI refuses a step."""

    def __init__(self, api: WebuiApi, state: State, setup: Setup) -> None:
        self.api = api
        self.state = state
        self.setup = setup
        self.plugins = setup.plugins(api, state)
        self.again = False
        self.others: list[Connection] = []

    def run(self) -> None:
        self.sign_in_admin()
        self.make_user()
        self.connect()
        self.suggest()
        self.switch_off_others()
        for file in self.setup.host.files(self.setup.protection):
            self.plugins.install(file)
        for plugin, valves in self.setup.valves.items():
            self.plugins.set_valves(plugin, valves)
        self.publish_models()
        if self.setup.protection.direct:
            self.plugins.check_filter(self.setup.host.filter)

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

    def switch_off_others(self) -> None:
        """Functions of an earlier start with another host or protection."""
        functions = FunctionsHost(self.api)
        wanted = {file.stem for file in self.setup.host.files(self.setup.protection)}
        for plugin in {Host.FUNCTIONS.filter, Host.FUNCTIONS.models} & functions.known().keys() - wanted:
            functions.switch(plugin, active=False)

    def publish_models(self) -> None:
        """Lets everybody use the models that are protected, and nobody but admins the others.

        By default a model is visible to admins only.
        """
        guarded, direct = self._models()
        models = guarded | (self._named(direct) if self.setup.protection.direct else {})
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
        for name in direct.keys() & known - models.keys():
            self.api.post("/api/v1/models/model/access/update", {"id": name, "access_grants": []})
        self._prefer_guarded(list(models))

    def suggest(self) -> None:
        """Shows the example prompts on the page of a new chat. Only at the first start: the admin may change them."""
        if self.again:
            return
        suggestions = [{"title": [prompt, ""], "content": prompt} for prompt in self.setup.suggestions]
        self.api.post("/api/v1/configs/suggestions", {"suggestions": suggestions})

    def _prefer_guarded(self, models: list[str]) -> None:
        """Make the first guarded model the default for new chats, if there is a choice and the admin made none.

        What an earlier start with another host or protection made the default is replaced.
        """
        guarded = [name for name in models if self.setup.is_guarded(name)]
        settings = self.api.get("/api/v1/configs/models")
        chosen = settings["DEFAULT_MODELS"] or ""
        gone = chosen not in models and chosen.partition(".")[0] in {host.models for host in Host}
        if gone or (0 < len(guarded) < len(models) and not chosen):
            self.api.post("/api/v1/configs/models", settings | {"DEFAULT_MODELS": [*guarded, *models][0]})

    def _models(self) -> tuple[dict[str, str], dict[str, str]]:
        """Ids and names of the guarded models, and of the direct ones.

        Waits until Open WebUI lists those of each connection and the hidden ones.
        """
        deadline = time.monotonic() + LIST_SECONDS
        while True:
            listed = self.api.get("/api/models", refresh=True)["data"]
            direct = {model["id"]: model["name"] for model in listed if self._is_direct(model)}
            guarded = {model["id"]: model["name"] for model in listed if self.setup.is_guarded(model["id"])}
            missing = set(self.setup.hidden) - {model["id"] for model in listed}
            lacking = self._lacking(direct, guarded, missing)
            if not lacking:
                return guarded, direct
            if time.monotonic() > deadline:
                raise SetupFailed(lacking)
            time.sleep(1)

    def _is_direct(self, model: dict[str, Any]) -> bool:
        return self.setup.chat in self.setup.connections and model.get("urlIdx") == 0

    def _named(self, direct: dict[str, str]) -> dict[str, str]:
        """The direct models under the names that users read."""
        suffix = " (filter only)" if self.setup.protection.guarded else ""
        return {model: f"{name}{suffix}" for model, name in direct.items()}

    def _lacking(self, direct: dict[str, str], guarded: dict[str, str], missing: set[str]) -> str:
        """A message about what Open WebUI does not list yet; empty if it lists everything."""
        if self.setup.chat in self.setup.connections and not direct:
            return (
                f"Open WebUI lists no model of {self.setup.chat.url}. Is it an OpenAI-compatible server, and is the "
                "key right?"
            )
        log = self.state.log(self.plugins.log)
        if self.setup.protection.guarded and not guarded:
            return f"Open WebUI lists no guarded model: {log} has the reason."
        return f"Open WebUI does not list {', '.join(sorted(missing))}: see {log}" if missing else ""
