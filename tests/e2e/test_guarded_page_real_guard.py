"""An unsafe answer, judged by the real guard while it streams: no word of its unsafe part is on screen."""

from collections.abc import Iterator

import pytest

from demo.stack.stack import UNSAFE_ANSWER_PROMPT
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.streamed_answers import AFTER_ALL_DOUBT_ZH, a_safe_answer_is_shown, an_unsafe_answer_is_withheld
from tests.e2e.texts import EN, LOCK, UNSAFE_ANSWER_PROMPT_ZH, UNSAFE_REASONING_PROMPT, ZH
from tests.stands.processes.guard_process import GuardProcess, guard_process


@pytest.fixture(scope="module")
def gen_guard() -> Iterator[GuardProcess]:
    with guard_process("demo") as guard:
        guard.wait_for("Try it:")
        yield guard


# Of the Functions, one has a real Gen guard in the tests, and the other one a Stream guard: each guard takes minutes to
# start on busy cores, and gigabytes of memory.
@pytest.mark.on("pipelines", "functions-filter")
@pytest.mark.parametrize(
    ("prompt", "unsafe", "notice"),
    [
        (UNSAFE_ANSWER_PROMPT, LOCK, EN["answer_withheld"]),
        (UNSAFE_ANSWER_PROMPT_ZH, AFTER_ALL_DOUBT_ZH, ZH["answer_withheld"]),
        (UNSAFE_REASONING_PROMPT, LOCK, EN["answer_withheld"]),
    ],
    ids=["English", "Chinese", "reasoning only"],
)
def test_an_unsafe_answer_is_withheld_while_it_streams(
    gen_guard: GuardProcess, guarded: GuardedStack, guarded_page: ChatPage, prompt: str, unsafe: str, notice: str
) -> None:
    with guarded.valves(guard_base_url=gen_guard.url):
        an_unsafe_answer_is_withheld(guarded, guarded_page, prompt, unsafe, notice)
        a_safe_answer_is_shown(guarded, guarded_page)
