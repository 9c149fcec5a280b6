"""The chat model behind the guarded models: it does as it is told, also while Open WebUI asks it for titles."""

from typing import Any

from demo.chat_model.script import Script, last_user_text
from demo.chat_model.server import SCRIPT
from tests.stands.chats import CALM
from tests.stands.models.stub_model import StubModel


class ChattingModel(StubModel):
    """Answers Open WebUI's own tasks from the demo's script, and everything else as it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.models = ["demo-chat", "demo-chat-2"]
        self.task_answer: str | None = None
        """What it answers to every task in place of the script."""
        self.echoes = False
        """Answers with its own name and the last prompt, between calm sentences."""
        self.after_tools: str | None = None
        """What it answers once a tool has given its result, in place of all that."""
        self._script = Script.load(SCRIPT)

    @property
    def tasks(self) -> list[str]:
        """The prompts of the tasks that it was asked."""
        return [last_user_text(body) for body in self.requests if _is_task(body)]

    def answer_to(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if self.after_tools is not None and body["messages"][-1]["role"] == "tool":
            return [{"role": "assistant", "content": self.after_tools}]
        if not _is_task(body):
            return _echo(body) if self.echoes else super().answer_to(body)
        return [{"role": "assistant", "content": self.task_answer or self._script.reply(body).content}]

    def chunks_to(self, body: dict[str, Any]) -> list[Any] | None:
        return None if _is_task(body) else super().chunks_to(body)


def _echo(body: dict[str, Any]) -> list[dict[str, Any]]:
    text = f"{CALM}{body['model']} was asked: {last_user_text(body)} {CALM}"
    return [{"content": text[at : at + 4]} for at in range(0, len(text), 4)]


def _is_task(body: dict[str, Any]) -> bool:
    return last_user_text(body).startswith("### Task:")
