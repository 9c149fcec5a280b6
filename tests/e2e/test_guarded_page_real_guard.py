"""An unsafe answer, judged by the real guard while it streams: no word of its unsafe part is on screen."""

import pytest

from demo.stack.stack import UNSAFE_ANSWER_PROMPT, Stack
from tests.e2e.chat_host import EVERY_HOST
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.streamed_answers import AFTER_ALL_DOUBT_ZH, a_safe_answer_is_shown, an_unsafe_answer_is_withheld
from tests.e2e.texts import EN, LOCK, UNSAFE_ANSWER_PROMPT_ZH, UNSAFE_REASONING_PROMPT, ZH


@pytest.fixture
def gen_guard_url(stack: Stack) -> str:
    """A guard takes minutes to start on busy cores, so this is the one that the filter's tests have."""
    return stack.guard_url


@pytest.mark.on(*EVERY_HOST)
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
    gen_guard_url: str, guarded: GuardedStack, guarded_page: ChatPage, prompt: str, unsafe: str, notice: str
) -> None:
    with guarded.valves(guard_base_url=gen_guard_url):
        an_unsafe_answer_is_withheld(guarded, guarded_page, prompt, unsafe, notice)
        a_safe_answer_is_shown(guarded, guarded_page)
