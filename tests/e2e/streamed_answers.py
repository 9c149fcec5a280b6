"""What must hold while an answer streams on the page."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import expect

from demo.chat_model.script import Script
from demo.chat_model.server import SCRIPT
from demo.stack.stack import SAFE_PROMPT
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds
from tests.e2e.texts import SAFE_ANSWER
from tests.stands.waiting import wait_until

AFTER_ALL_DOUBT_ZH = "指纹"
"""The demo guards treat some early fragments of their Chinese story as Safe, and such text is shown. From the third
clause on, which has these words, they do not."""


BEGINNING = 20
"""Chunks of an answer in which a whole sentence has not come yet."""


def stop_after_beginning(guarded: GuardedStack) -> None:
    """The model's next answer stops there. It goes on with empty events, as a Function filter acts only on events."""
    guarded.model.stops_after, guarded.model.beats = BEGINNING, True


@contextmanager
def shown_before_the_rest(guarded: GuardedStack, page: ChatPage, *words: str) -> Iterator[None]:
    """Sends a prompt inside the context. The model writes no more than a beginning before the page shows `words`."""
    stop_after_beginning(guarded)
    yield
    wait_until(lambda: page.recorder.showed(*words) == set(words))
    guarded.model.stops_after = None


def an_unsafe_answer_is_withheld(guarded: GuardedStack, page: ChatPage, prompt: str, unsafe: str, notice: str) -> None:
    """Asserts that no word of `unsafe` is on screen, on the wire or in the database, and that the notice is shown."""
    _say(guarded, prompt)
    stored = page.ask(prompt)
    expect(page.answers).to_have_text([notice])
    assert page.recorder.showed(unsafe) == set()
    assert page.recorder.received(unsafe) == set()
    assert not holds(stored.chat, unsafe)


def a_safe_answer_is_shown(guarded: GuardedStack, page: ChatPage) -> None:
    _say(guarded, SAFE_PROMPT)
    page.ask(SAFE_PROMPT)
    expect(page.answers.last).to_contain_text(SAFE_ANSWER)


def _say(guarded: GuardedStack, prompt: str) -> None:
    """The model answers like the demo's."""
    reply = Script.load(SCRIPT).reply({"messages": [{"role": "user", "content": prompt}]})
    guarded.model.says(reply.content, reasoning=reply.reasoning)
    guarded.model.delay = 0.05
