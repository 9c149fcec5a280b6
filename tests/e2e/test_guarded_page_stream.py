"""An unsafe answer, judged by the demo Qwen3Guard-Stream while it streams: its unsafe sentence is never on screen."""

from collections.abc import Iterator

import pytest

from demo.stack.stack import UNSAFE_ANSWER_PROMPT
from guard_server.catalog import MODELS
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.streamed_answers import AFTER_ALL_DOUBT_ZH, a_safe_answer_is_shown, an_unsafe_answer_is_withheld
from tests.e2e.texts import EN, LOCK, UNSAFE_ANSWER_PROMPT_ZH, ZH
from tests.stands.processes.guard_process import GuardProcess, guard_process
from tests.stands.waiting import wait_until

(NAME,) = MODELS["demo-stream"].served_names


@pytest.fixture(scope="module")
def stream_guard() -> Iterator[GuardProcess]:
    with guard_process("demo-stream") as guard:
        guard.wait_for("Try it:")
        yield guard


@pytest.mark.on("pipelines", "functions-models")
@pytest.mark.parametrize(
    ("prompt", "unsafe", "notice"),
    [
        (UNSAFE_ANSWER_PROMPT, LOCK, EN["answer_withheld"]),
        (UNSAFE_ANSWER_PROMPT_ZH, AFTER_ALL_DOUBT_ZH, ZH["answer_withheld"]),
    ],
    ids=["English", "Chinese"],
)
def test_an_unsafe_answer_is_withheld_while_the_stream_guard_judges_it(
    stream_guard: GuardProcess, guarded: GuardedStack, guarded_page: ChatPage, prompt: str, unsafe: str, notice: str
) -> None:
    with guarded.valves(guard_base_url=stream_guard.url):
        an_unsafe_answer_is_withheld(guarded, guarded_page, prompt, unsafe, notice)
        a_safe_answer_is_shown(guarded, guarded_page)

    def decided() -> list[tuple[str, str]]:
        records = guarded.audit(guarded_page.chat_id)
        return [(record["guard"], record["action"]) for record in records if record["direction"] == "response"]

    wait_until(lambda: len(decided()) >= 2)
    assert decided() == [(NAME, "refuse"), (NAME, "pass")]
