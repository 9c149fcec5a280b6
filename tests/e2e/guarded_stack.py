"""Open WebUI with our plugins, between a guard and a chat model that do as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from demo.stack.stack import Stack
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import Host
from demo.webui_client.protection import Protection
from demo.webui_client.provision import Connection
from guard_server.open_webui.records import EVERYBODY
from tests.e2e.chat_host import CHAT_HOSTS, CHAT_MODELS, ChatHost
from tests.e2e.chat_tasks import wait_for_tasks
from tests.e2e.recorder import Recorder
from tests.e2e.stored_chat import holds
from tests.e2e.texts import SEA_PROMPT, UNSAFE_WORDS
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.chatting_model import ChattingModel
from tests.stands.servers import free_port, free_ports, serve
from tests.stands.waiting import PATIENCE, wait_until

UPSTREAM_KEY = "sk-upstream-secret"


class GuardedStack:
    """The servers, and the controls of the stubs."""

    def __init__(self, stack: Stack, guard_port: int) -> None:
        self.stack = stack
        self.host = CHAT_HOSTS["pipelines"]
        """What users chat with, and so what the tests set valves of."""
        self.guard = StubGuard()
        self.model = ChattingModel()
        self.prompt = SEA_PROMPT
        """Another one for each test: the guard is not asked again about a conversation that an earlier test had."""
        self._tests = 0
        self._guard_port = guard_port
        self._guard_server = ExitStack()

    @classmethod
    @contextmanager
    def running(
        cls, folder: Path, protection: Protection = Protection.GUARDED, host: Host = Host.PIPELINES
    ) -> Iterator[GuardedStack]:
        guard_port, model_port = free_port(), free_port()
        stack = Stack(
            folder,
            ports=free_ports(),
            fresh=True,
            guard=None,
            guard_url=f"http://127.0.0.1:{guard_port}/v1",
            upstream=Connection(f"http://127.0.0.1:{model_port}/v1", UPSTREAM_KEY),
            host=host,
            protection=protection,
        )
        for child in stack.processes.children.values():
            # The default of a valve: a verdict that a test delays is not given up meanwhile.
            child.environment["QWEN3GUARD_TIMEOUT_SECONDS"] = f"{PATIENCE:g}"
        # Nor is a server forgotten that lists nothing for ten seconds.
        stack.processes.children["webui"].environment["AIOHTTP_CLIENT_TIMEOUT_MODEL_LIST"] = f"{PATIENCE:g}"
        guarded = cls(stack, guard_port)
        with serve(guarded.model.app, model_port), guarded._guard_server:
            guarded.start_guard()
            with stack:
                yield guarded

    def start_guard(self) -> None:
        self._guard_server.enter_context(serve(self.guard.app, self._guard_port))

    def stop_guard(self) -> None:
        """Stop the guard's server: its address refuses connections from now on."""
        self._guard_server.close()

    def release(self) -> None:
        """Guard and model answer all requests that wait."""
        self.guard.release()
        self.model.release()

    def settled(self) -> GuardedStack:
        """The same as new, once Open WebUI has nothing to do for the chats of the test before. It must run."""
        self.release()
        wait_for_tasks(self.stack.admin)
        self.as_new()
        return self

    def as_new(self) -> None:
        """Reset guard and model once they are idle; their servers continue."""
        self._tests += 1
        self.prompt = f"{SEA_PROMPT} This is question {self._tests}."
        self.release()
        wait_until(lambda: not (self.model.streaming or self.guard.at_once))
        for stub, fresh in ((self.guard, StubGuard()), (self.model, ChattingModel())):
            vars(stub).update({name: value for name, value in vars(fresh).items() if name != "app"})

    def use(self, host: ChatHost) -> None:
        """Lets users chat in this way, also by default. Both Functions are installed; Pipelines have one way."""
        if host is self.host:
            return
        self.host = host
        functions = FunctionsHost(self.stack.admin)
        functions.switch(Host.FUNCTIONS.filter, active=not host.guards_models)
        # Base models without a grant are closed to users.
        grants = [] if host.guards_models else [EVERYBODY]
        for model in CHAT_MODELS:
            self.grant(model, *grants)
        path = "/api/v1/configs/models"
        self.stack.admin.post(path, self.stack.admin.get(path) | {"DEFAULT_MODELS": host.models[0]})

    def grant(self, model: str, *grants: dict[str, str]) -> None:
        """Lets users have a model. Open WebUI stores that after its reply, and can store nothing else meanwhile."""
        form = {"id": model, "name": model, "access_grants": grants}
        self.stack.admin.post("/api/v1/models/model/access/update", form)

        def stored() -> bool:
            known = self.stack.admin.get("/api/v1/models/base")
            return [len(one["access_grants"]) for one in known if one["id"] == model] == [len(grants)]

        wait_until(stored)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What the chat model was asked with this test's prompt, without Open WebUI's own tasks.

        In Open WebUI's own process, a call that was given up goes on until Open WebUI's queries are over. So a call of
        an earlier test may come after that test, and a call that was repeated may come after its repetition.
        """
        return [body for body in self.model.requests if holds(body, self.prompt) and not holds(body, "### Task:")]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that users chat with."""
        return self.host.models

    @contextmanager
    def valves(self, plugin: str = "", **valves: Any) -> Iterator[None]:
        """Sets valves for a while, by default of the plugin that judges."""
        plugin = plugin or self.host.plugin
        before = self.stack.plugins.valves(plugin)
        self.stack.set_valves(plugin, **valves)
        try:
            yield
        finally:
            self.stack.set_valves(plugin, **{name: before[name] for name in valves})

    @contextmanager
    def judging_first(self, **valves: Any) -> Iterator[None]:
        """Prompts are judged before a model reads them, for a while: by default guarded models do both at once."""
        first = {"prompt_check": "before"} if self.host.guards_models else {}
        with self.valves(**first, **valves):
            yield

    def audit(self, chat_id: str) -> list[dict[str, Any]]:
        """The records of one chat, oldest first."""
        return [record for record in self.stack.audit() if record.get("chat") == chat_id]

    def keeps(self, *words: str) -> set[str]:
        """The words that are in Open WebUI's data folder: in a row, in the remains of one, in a file."""
        files = [path.read_bytes().lower() for path in self.stack.state.webui.rglob("*") if path.is_file()]
        return {word for word in words if any(word.lower().encode() in content for content in files)}

    def leaked(self, recorder: Recorder) -> set[str]:
        """The words of UNSAFE that were on the page or sent to it at any time, or that Open WebUI has stored."""
        return recorder.showed(*UNSAFE_WORDS) | recorder.received(*UNSAFE_WORDS) | self.keeps(*UNSAFE_WORDS)
