"""What a Function filter cannot see, shown: docs/coverage.md names these tests. Guarded models close each of them.

Their unsafe text stays in Open WebUI's data, so it is one that no other test looks for there. A test that fails here is
good news from Open WebUI: the gap has moved, and the table must follow.
"""

import json

import pytest
from playwright.sync_api import expect

from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.texts import EN
from tests.stands.chats import BOMB, CALM
from tests.stands.waiting import PATIENCE


@pytest.mark.on("functions-filter")
def test_gap_a_function_filter_sees_no_task(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded.model.task_answer = json.dumps({"title": BOMB, "tags": [], "follow_ups": []})
    guarded_page.ask(guarded.prompt)
    guarded_page.titled(BOMB)


@pytest.mark.on("functions-filter")
def test_gap_a_function_filter_sees_no_merger(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded_window.open(f"/?models={','.join(guarded.models)}")
    guarded_window.send(guarded.prompt)
    guarded_window.settled(answers=2)
    guarded.model.says(CALM + BOMB)
    expect(guarded_window.merge()).to_contain_text(BOMB)


@pytest.mark.on("functions-filter")
def test_gap_an_answer_that_a_model_server_sends_in_one_piece_is_on_screen_until_it_is_judged(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    """Open WebUI shows it before it calls an outlet, and calls nothing before that."""
    choice = {"index": 0, "message": {"role": "assistant", "content": BOMB}, "finish_reason": "stop"}
    guarded.model.reply = {"id": "1", "object": "chat.completion", "choices": [choice]}
    guarded.guard.silent_about = BOMB
    with guarded.valves(timeout_seconds=PATIENCE):
        guarded_page.send(guarded.prompt)
        expect(guarded_page.answers).to_have_text([BOMB])
        guarded.guard.silent_about = None
        expect(guarded_page.answers).to_have_text([EN["answer_withheld"]])
        stored = guarded_page.settled(answers=1)
    assert stored.last("assistant")["content"] == EN["answer_withheld"]
