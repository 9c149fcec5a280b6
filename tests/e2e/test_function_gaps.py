"""What a Function filter cannot see, shown: docs/coverage.md names these tests. Guarded models close each of them.

A test that fails here is good news from Open WebUI: the gap has moved, and the table must follow.
"""

import json

import pytest
from playwright.sync_api import expect

from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.texts import SEA_PROMPT, UNSAFE
from tests.stands.chats import CALM

FIRST_UNSAFE = UNSAFE.split()[0]


@pytest.mark.on("functions-filter")
def test_gap_a_function_filter_sees_no_task(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded.model.task_answer = json.dumps({"title": UNSAFE, "tags": [], "follow_ups": []})
    stored = guarded_page.ask(SEA_PROMPT)
    assert stored.title == UNSAFE.strip()


@pytest.mark.on("functions-filter")
def test_gap_a_function_filter_sees_no_merger(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded_window.open(f"/?models={','.join(guarded.models)}")
    guarded_window.send(SEA_PROMPT)
    guarded_window.settled(answers=2)
    guarded.model.says(CALM + UNSAFE)
    expect(guarded_window.merge()).to_contain_text(FIRST_UNSAFE)
