"""The ways to protect chats that the same tests run over, and in what they differ for a user."""

from __future__ import annotations

from dataclasses import dataclass

from demo.webui_client.host import Host
from demo.webui_client.visitor import Seen

CHAT_MODELS = ("demo-chat", "demo-chat-2")


@dataclass(frozen=True)
class ChatHost:
    """One of them.

    `guards_models`: users chat with guarded models; otherwise with the models themselves, which a filter protects.
    """

    host: Host
    guards_models: bool

    @property
    def plugin(self) -> str:
        """The plugin that judges, whose valves a test sets."""
        return self.host.models if self.guards_models else self.host.filter

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of the models that users chat with."""
        return tuple(f"{self.plugin}.{model}" for model in CHAT_MODELS) if self.guards_models else CHAT_MODELS

    @property
    def model_name(self) -> str:
        """What the page calls the first of them."""
        return f"{CHAT_MODELS[0]} ({'guarded' if self.guards_models else 'filter only'})"

    def streams(self, asked: bool) -> bool:
        """Whether the model is asked to stream for a page that asks for that or not: a filter sees nothing else."""
        return asked or not self.guards_models

    def refusal(self, seen: Seen) -> str:
        """The notice of a refused prompt: a guarded model answers with it, and a Function filter raises it."""
        return seen.text if self.guards_models else seen.error


CHAT_HOSTS = {
    "pipelines": ChatHost(Host.PIPELINES, guards_models=True),
    "functions-models": ChatHost(Host.FUNCTIONS, guards_models=True),
    "functions-filter": ChatHost(Host.FUNCTIONS, guards_models=False),
}
"""By the names that the mark `on` gives to tests."""
EVERY_HOST = tuple(CHAT_HOSTS)
FUNCTIONS = ("functions-filter", "functions-models")
