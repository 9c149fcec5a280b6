"""Refused prompts: no model reads them, and the chat continues."""

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from demo.stack.stack import SAFE_PROMPT, UNSAFE_PROMPT, Stack
from demo.webui_client.host import FILTER_REFUSAL
from demo.webui_client.visitor import Visitor
from guard_server.open_webui.records import EVERYBODY
from tests.e2e.chat_page import ChatPage
from tests.e2e.screenshots import picture
from tests.e2e.stored_chat import StoredChat, holds, said
from tests.e2e.texts import BOMB, BOMB_ZH, EN, NEXT_PROMPT, SAFE_ANSWER, UNSAFE_PROMPT_ZH, ZH
from tests.stands.waiting import wait_until


def test_a_safe_prompt_is_answered_and_the_page_shows_the_answer_unchanged(stack: Stack, chat_page: ChatPage) -> None:
    stored = chat_page.ask(SAFE_PROMPT)
    expect(chat_page.answers).to_contain_text([SAFE_ANSWER])
    assert stored.last("user")["content"] == SAFE_PROMPT
    chat_page.titled("Demo chat")
    assert "originalContent" not in stored.last("assistant")
    assert holds(stack.chat_log(), SAFE_PROMPT)


@pytest.mark.parametrize(
    ("prompt", "unsafe", "texts", "name"),
    [
        pytest.param(UNSAFE_PROMPT, BOMB, EN, "unsafe-prompt", id="English"),
        pytest.param(UNSAFE_PROMPT_ZH, BOMB_ZH, ZH, "unsafe-prompt-zh", id="Chinese"),
    ],
)
def test_an_unsafe_prompt_gets_the_notice_in_its_language_and_is_not_sent_to_a_model(
    stack: Stack, chat_page: ChatPage, prompt: str, unsafe: str, texts: dict[str, str], name: str
) -> None:
    stored = chat_page.ask(prompt)
    expect(chat_page.answers).to_have_text([texts["prompt_refused"]])
    expect(chat_page.prompts).to_have_text([texts["turn_removed"]])
    assert unsafe not in chat_page.screen().lower()
    picture(chat_page.page, name)

    chat_page.reload()
    expect(chat_page.answers).to_have_text([texts["prompt_refused"]])
    expect(chat_page.prompts).to_have_text([texts["turn_removed"]])
    wait_until(lambda: chat_page.sidebar() == [StoredChat.read(chat_page.api, chat_page.chat_id).title])
    assert chat_page.sidebar()[0] not in ("", prompt)
    assert unsafe not in chat_page.screen().lower()

    answer = stored.last("assistant")
    assert (answer["content"], said(answer)) == (texts["prompt_refused"], [texts["prompt_refused"]])
    assert stored.last("user")["content"] == texts["turn_removed"]
    # The chat model is also asked for title, tags and follow-ups.
    assert not holds(stack.chat_log(), unsafe)


def test_the_turn_after_a_refusal_is_answered_and_no_unsafe_text_is_kept(stack: Stack, chat_page: ChatPage) -> None:
    chat_page.ask(UNSAFE_PROMPT)
    expect(chat_page.answers).to_have_text([EN["prompt_refused"]])
    stored = chat_page.ask(NEXT_PROMPT)
    expect(chat_page.answers).to_have_count(2)
    expect(chat_page.answers.last).to_contain_text(SAFE_ANSWER)
    assert holds(stack.chat_log(), NEXT_PROMPT)
    assert not holds(stack.chat_log(), BOMB)
    assert stored.texts("originalContent") == [EN["turn_removed"], EN["prompt_refused"]]
    # Open WebUI itself stores a chat's first prompt next to its history: see test_gaps.py.
    assert not holds(stored.chat["chat"]["history"], BOMB)
    later = chat_page.ask(SAFE_PROMPT)
    assert later.texts("content")[:2] == [EN["turn_removed"] + " ", EN["prompt_refused"] + " "]
    assert not holds(later.chat["chat"]["history"], BOMB)


def test_without_a_refusal_model_the_chat_model_is_asked_for_the_notice(
    stack: Stack, visitor: Visitor, valves: Callable[..., None]
) -> None:
    valves(refusal_model="none")
    seen = visitor.ask(UNSAFE_PROMPT)
    assert (seen.prompt, seen.text) == (EN["turn_removed"], EN["prompt_refused"])
    assert holds(stack.chat_log(), EN["prompt_refused"])
    assert not holds(stack.chat_log(), BOMB)


def test_a_refusal_model_that_a_user_cannot_read_costs_one_answer(
    stack: Stack, visitor: Visitor, valves: Callable[..., None]
) -> None:
    def grant(*grants: dict[str, str]) -> None:
        form = {"id": FILTER_REFUSAL, "name": FILTER_REFUSAL, "access_grants": list(grants)}
        stack.admin.post("/api/v1/models/model/access/update", form)

    assert visitor.ask(UNSAFE_PROMPT).text == EN["prompt_refused"]
    grant()
    try:
        assert visitor.ask(UNSAFE_PROMPT).error == "Model not found"
        # It has ten seconds.
        time.sleep(11)
        stack.clear_chat_log()
        seen = visitor.ask(UNSAFE_PROMPT)
        assert (seen.prompt, seen.text) == (EN["turn_removed"], EN["prompt_refused"])
        assert BOMB not in visitor.sidebar()[seen.chat_id]
        assert holds(stack.chat_log(), EN["prompt_refused"])
        assert not holds(stack.chat_log(), BOMB)
    finally:
        grant(EVERYBODY)
    # A Save lets the filter try the refusal model again.
    valves(notice_prompt="Not here.")
    assert visitor.ask(UNSAFE_PROMPT, background_tasks={}).text == "Not here."
    stack.clear_chat_log()
    assert visitor.ask(UNSAFE_PROMPT, background_tasks={}).text == "Not here."
    assert stack.chat_log() == []


def test_a_refused_prompt_that_stays_in_the_stored_chat_is_not_sent_to_a_model_later(
    stack: Stack, visitor: Visitor, valves: Callable[..., None]
) -> None:
    valves(rewrite_history=False)
    seen = visitor.ask(UNSAFE_PROMPT)
    assert (seen.prompt, seen.text) == (UNSAFE_PROMPT, EN["prompt_refused"])
    assert SAFE_ANSWER in visitor.ask(NEXT_PROMPT, after=seen).text
    assert holds(stack.chat_log(), NEXT_PROMPT)
    assert not holds(stack.chat_log(), BOMB)
