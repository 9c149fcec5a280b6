"""The chat model of the guarded models. Its answer can be set, and it answers Open WebUI's requests for titles."""

from typing import Any

from demo.chat_model.script import Script, last_user_text
from demo.chat_model.server import SCRIPT
from tests.stands.models.stub_model import StubModel


class ChattingModel(StubModel):
    """Answers Open WebUI's own tasks from the demo's script, and everything else with the set answer."""

    def __init__(self) -> None:
        super().__init__()
        self.models = ["demo-chat", "demo-chat-2"]
        self.task_answer: str | None = None
        """The answer to every task, in place of the script."""
        self._script = Script.load(SCRIPT)

    @property
    def tasks(self) -> list[str]:
        """The prompts of the tasks that it got."""
        return [last_user_text(body) for body in self.requests if _is_task(body)]

    def answer_to(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if not _is_task(body):
            return super().answer_to(body)
        return [{"role": "assistant", "content": self.task_answer or self._script.reply(body).content}]

    def chunks_to(self, body: dict[str, Any]) -> list[Any] | None:
        return None if _is_task(body) else super().chunks_to(body)


def _is_task(body: dict[str, Any]) -> bool:
    return last_user_text(body).startswith("### Task:")
