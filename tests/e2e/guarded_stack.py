"""Open WebUI with guarded models, between a stub guard and a stub chat model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from demo.stack.ports import Ports
from demo.stack.stack import Stack
from demo.webui_client.protection import MODELS, Protection
from demo.webui_client.provision import Connection
from pipelines.upstreams.model_ids import guarded
from tests.e2e.recorder import Recorder
from tests.e2e.texts import UNSAFE_WORDS
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.chatting_model import ChattingModel
from tests.stands.servers import free_port, serve
from tests.stands.waiting import wait_until

MODELS_ON_PAGE = tuple(map(guarded, ("demo-chat", "demo-chat-2")))
UPSTREAM_KEY = "sk-upstream-secret"


class GuardedStack:
    """The servers, and the controls of the stubs."""

    def __init__(self, stack: Stack, guard_port: int) -> None:
        self.stack = stack
        self.guard = StubGuard()
        self.model = ChattingModel()
        self._guard_port = guard_port
        self._guard_server = ExitStack()

    @classmethod
    @contextmanager
    def running(cls, folder: Path, protection: Protection = Protection.GUARDED) -> Iterator[GuardedStack]:
        guard_port, model_port = free_port(), free_port()
        stack = Stack(
            folder,
            ports=Ports.free(),
            fresh=True,
            guard=None,
            guard_url=f"http://127.0.0.1:{guard_port}/v1",
            upstream=Connection(f"http://127.0.0.1:{model_port}/v1", UPSTREAM_KEY),
            protection=protection,
        )
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

    def as_new(self) -> None:
        """Reset guard and model once they are idle; their servers continue."""
        wait_until(lambda: not self.model.streaming)
        for stub, fresh in ((self.guard, StubGuard()), (self.model, ChattingModel())):
            vars(stub).update({name: value for name, value in vars(fresh).items() if name != "app"})

    @contextmanager
    def valves(self, pipeline: str = MODELS, **valves: Any) -> Iterator[None]:
        """Sets valves, by default of the guarded models, inside the context."""
        place = self.stack.setup.pipelines_index
        before = self.stack.admin.get(f"/api/v1/pipelines/{pipeline}/valves", urlIdx=place)
        self.stack.set_valves(pipeline, **valves)
        try:
            yield
        finally:
            self.stack.set_valves(pipeline, **before)

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
