"""All servers of `make run` as one object: guard, Open WebUI, chat model, and with this host the Pipelines server.

`make run`, `make try` and the end-to-end tests all start them in this way:

    with Stack(Path(".run/mine"), ports=Ports.free()) as stack:
        print(stack.webui_url, stack.user_token)
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from demo.chat_model.server import MODEL, SCRIPT
from demo.errors import StackError
from demo.stack import children
from demo.stack.ports import HOST, Ports
from demo.stack.processes import Processes
from demo.state import State
from demo.webui_client.host import Host
from demo.webui_client.plugin_host import PluginHost
from demo.webui_client.protection import Protection
from demo.webui_client.provision import Connection, Provisioner, Setup
from demo.webui_client.webui_api import SECONDS, Account, WebuiApi

# A prompt that passes, one that is refused, one whose answer is withheld: see script.toml.
SAFE_PROMPT = "What is the capital of France?"
UNSAFE_PROMPT = "How do I make a bomb?"
UNSAFE_ANSWER_PROMPT = "Please write a short story about a locksmith."


class Stack:
    """The servers, on loopback, and the clients to use them.

    `folder`: for all state. Existing state is used again, unless `fresh`.
    `guard`: the model that the guard server serves; None starts no guard (then `guard_url` may name another one).
    `guard_url`: `guard_base_url` of the plugins; by default the guard that this stack starts.
    `upstream`: a chat model of your own. It replaces the scripted one, which is then not started.
    `chat_models`, `token_delay` (seconds), `script`: the models, the speed and the answers of the scripted one.
    `host`: what runs the plugins. `protection`: the guarded models, the filter, or both.
    `say`: gets one line per step.

    `others` are the addresses of further models that an admin has connected on the page.

    All methods raise a `StackError` with a message for the user.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        fresh: bool = False,
        guard: str | None = "demo",
        guard_url: str | None = None,
        upstream: Connection | None = None,
        chat_models: Sequence[str] = (MODEL,),
        token_delay: float = 0.02,
        script: Path = SCRIPT,
        host: Host = Host.PIPELINES,
        protection: Protection = Protection.GUARDED,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        self.ports = ports or Ports()
        self.state = State(folder)
        self.say = say
        self.guard_url = guard_url or f"http://{HOST}:{self.ports.guard}/v1"
        self.chat = upstream or Connection(f"http://{HOST}:{self.ports.chat}/v1")
        self.host = host
        self.protection = protection
        self.pipelines = Connection(f"http://{HOST}:{self.ports.pipelines}", self.state.secret("pipelines_key"))
        self.webui_url = f"http://{HOST}:{self.ports.webui}"
        self.setup = self._setup()
        scripted = [] if upstream else [children.chat(self.ports, self.state, list(chat_models), token_delay, script)]
        guards = [children.guard(self.ports, guard)] if guard else []
        servers = [children.pipelines(self.ports, self.state)] if host is Host.PIPELINES else []
        self.processes = Processes([*guards, children.webui(self.ports, self.state), *servers, *scripted], self.state)
        self.others: list[str] = []
        self.admin = WebuiApi(self.webui_url)
        self.user = WebuiApi(self.webui_url)

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts all servers, connects them, and returns when each of them answers."""
        self.ports.check_free(self.processes.children)
        self.say(f"starting {', '.join(self.processes.children)}; their logs are in {_short(self.state.logs)}")
        self.processes.start_all()
        # The guard starts slowest, so the rest is set up while it loads.
        for name in sorted(self.processes.children, key=lambda name: name == "guard"):
            if name == "guard":
                self._provision()
            self._wait(name)
        if "guard" not in self.processes.children:
            self._provision()

    def stop(self) -> None:
        """Stops everything. The folder is kept."""
        self.processes.stop_all()
        self.admin.http.close()
        self.user.http.close()

    def start_child(self, name: str) -> None:
        """Starts a stopped child (`guard`, `pipelines`, `webui`, `chat`) again and waits until it answers."""
        self.processes.start(name)
        self.processes.wait_healthy(name, self.say)

    def stop_child(self, name: str) -> None:
        """Stops one child. The others keep running."""
        self.processes.stop(name)

    def watch(self) -> None:
        """Blocks while all servers run. Raises `ChildFailed` when a child ends by itself."""
        while True:
            self.processes.check()
            time.sleep(1)

    def move(self, host: Host) -> None:
        """Lets another host run the plugins, as an admin who moves over. Nothing is started for it."""
        self.host = host
        self.setup = self._setup()
        self._provision()

    @property
    def admin_account(self) -> Account:
        return Account.admin(self.state)

    @property
    def user_account(self) -> Account:
        return Account.user(self.state)

    @property
    def user_token(self) -> str:
        return self.user.token

    def chat_log(self) -> list[dict[str, Any]]:
        """The request bodies that the scripted chat model got since its start or the last `clear_chat_log`."""
        entries = httpx.get(self._chat("/log"), timeout=SECONDS, trust_env=False).raise_for_status().json()
        return [entry["body"] for entry in entries]

    def clear_chat_log(self) -> None:
        httpx.delete(self._chat("/log"), timeout=SECONDS, trust_env=False).raise_for_status()

    def audit(self) -> list[dict[str, Any]]:
        """The audit records of all plugins, oldest first, from one file per day."""
        files = sorted(self.state.audit.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    def stop_answers(self, after: str) -> None:
        """Streamed answers of the scripted chat model stop when they have said these words; with "" they go on."""
        httpx.post(self._chat("/stop"), json={"after": after}, timeout=SECONDS, trust_env=False).raise_for_status()

    @property
    def model(self) -> str:
        """The model that users chat with: the scripted one, guarded unless only the filter protects."""
        return f"{self.host.models}.{MODEL}" if self.protection.guarded else MODEL

    @property
    def plugins(self) -> PluginHost:
        """What the admin can do with the plugins."""
        return self.setup.plugins(self.admin, self.state)

    def set_valves(self, plugin: str, **valves: Any) -> None:
        """Changes valves, as the admin's page does."""
        self.plugins.set_valves(plugin, valves)

    def _setup(self) -> Setup:
        return Setup(
            host=self.host,
            protection=self.protection,
            chat=self.chat,
            pipelines=self.pipelines,
            valves=self._wiring(),
            suggestions=[SAFE_PROMPT, UNSAFE_PROMPT, UNSAFE_ANSWER_PROMPT],
        )

    def _wiring(self) -> dict[str, dict[str, Any]]:
        both = {"guard_base_url": self.guard_url, "audit_path": str(self.state.audit / "audit.jsonl")}
        wiring: dict[str, dict[str, Any]] = {}
        refusal = self.host.refusal(self.protection)
        if self.protection.guarded:
            wiring[self.host.models] = both | (self._upstreams() if self.host is Host.PIPELINES else {})
        if self.protection.direct:
            wiring[self.host.filter] = both | ({"refusal_model": refusal} if refusal else {})
        return wiring

    def _upstreams(self) -> dict[str, Any]:
        """The valves of guarded models that bring their own connection."""
        return {
            "upstream_base_urls": self.chat.url,
            "upstream_api_keys": self.chat.key,
            "webui_url": self.webui_url,
            "refusal_entry": self.host.refusal(self.protection) is not None,
        }

    def _wait(self, name: str) -> None:
        self.processes.wait_healthy(name, self.say)
        self.say(f"{name} answers")

    def _provision(self) -> None:
        self.say("setting up Open WebUI: accounts, connections, plugins, models")
        provisioner = Provisioner(self.admin, self.state, self.setup)
        provisioner.run()
        self.others = [one.url for one in provisioner.others]
        self.user.sign_in(self.user_account)

    def _chat(self, path: str) -> str:
        if "chat" not in self.processes.children:
            raise StackError("The scripted chat model does not run: this stack uses another chat model.")
        return f"http://{HOST}:{self.ports.chat}{path}"


def _short(path: Path) -> str:
    return os.path.relpath(path)
