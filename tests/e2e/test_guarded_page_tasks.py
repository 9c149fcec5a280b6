"""Open WebUI's tasks for a guarded model: titles, tags and follow-ups, as the page shows them."""

import json

import pytest
from playwright.sync_api import expect

from demo.stack.stack import UNSAFE_PROMPT
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN, UNSAFE, UNSAFE_WORDS
from tests.stands.chats import CALM

# As in the demo's script.
TITLE, TAGS, FOLLOW_UP = "Demo chat", ["demo"], "What is the capital of Italy?"
NEUTRAL_TITLE = "New Chat"


@pytest.mark.on("pipelines", "functions-models")
def test_a_safe_chat_has_its_title_tags_and_follow_ups(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM)
    stored = guarded_page.ask(guarded.prompt)
    guarded_page.titled(TITLE)
    assert len([task for task in guarded.model.tasks if guarded.prompt in task]) == 3
    assert stored.chat["meta"]["tags"] == TAGS
    expect(guarded_page.follow_ups).to_have_text([FOLLOW_UP])
    guarded_page.reload()
    assert guarded_page.sidebar() == [TITLE]
    expect(guarded_page.follow_ups).to_have_text([FOLLOW_UP])


@pytest.mark.on("pipelines", "functions-models")
def test_a_refused_chat_has_a_neutral_title_and_neither_tags_nor_follow_ups(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    stored = guarded_page.ask(UNSAFE_PROMPT)
    expect(guarded_page.answers).to_have_text([EN["prompt_refused"]])
    guarded_page.reload()
    assert guarded_page.sidebar() == [NEUTRAL_TITLE]
    assert stored.chat["meta"].get("tags", []) == []
    expect(guarded_page.follow_ups).to_have_count(0)


@pytest.mark.on("pipelines", "functions-models")
def test_the_tasks_after_a_withheld_answer_read_the_notice(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM + UNSAFE)
    guarded_page.ask(guarded.prompt)
    expect(guarded_page.answers).to_have_text([EN["answer_withheld"]])
    assert holds(guarded.model.tasks, EN["answer_withheld"])
    assert not [word for word in UNSAFE_WORDS if holds(guarded.model.tasks, word)]


@pytest.mark.on("pipelines", "functions-models")
def test_an_unsafe_title_is_never_shown(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded.model.task_answer = json.dumps({"title": UNSAFE, "tags": [UNSAFE], "follow_ups": [UNSAFE]})
    guarded_page.ask(guarded.prompt)
    guarded_page.reload()
    assert guarded_page.sidebar() == [NEUTRAL_TITLE]
    expect(guarded_page.follow_ups).to_have_count(0)
    assert guarded.leaked(guarded_page.recorder) == set()
