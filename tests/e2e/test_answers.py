"""Unsafe answers to harmless prompts are replaced."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from demo.stack.stack import UNSAFE_ANSWER_PROMPT, Stack
from demo.webui_client.visitor import Visitor
from tests.e2e.chat_page import ChatPage
from tests.e2e.screenshots import picture
from tests.e2e.stored_chat import holds, said
from tests.e2e.texts import (
    EN,
    LOCK,
    LOCK_ZH,
    NEXT_PROMPT,
    SAFE_ANSWER,
    UNSAFE_ANSWER_PROMPT_ZH,
    UNSAFE_REASONING_PROMPT,
    UNSAFE_TOOL_PROMPT,
    ZH,
)
from tests.e2e.user_settings import interface


@pytest.fixture(params=[True, False], ids=["streamed", "not streamed"])
def streamed(stack: Stack, request: pytest.FixtureRequest) -> Iterator[bool]:
    """The user's own setting "Stream Chat Response"."""
    with interface(stack.user, params={"stream_response": request.param}):
        yield request.param


@pytest.mark.parametrize(
    ("prompt", "unsafe", "texts", "name"),
    [
        pytest.param(UNSAFE_ANSWER_PROMPT, LOCK, EN, "unsafe-answer", id="English"),
        pytest.param(UNSAFE_ANSWER_PROMPT_ZH, LOCK_ZH, ZH, None, id="Chinese"),
        pytest.param(UNSAFE_REASONING_PROMPT, LOCK, EN, None, id="reasoning only"),
    ],
)
def test_an_unsafe_answer_is_replaced_by_the_notice(
    stack: Stack, streamed: bool, chat_page: ChatPage, prompt: str, unsafe: str, texts: dict[str, str], name: str | None
) -> None:
    stored = chat_page.ask(prompt)
    expect(chat_page.answers).to_have_text([texts["answer_withheld"]])
    expect(chat_page.prompts).to_have_text([prompt])
    assert unsafe not in chat_page.screen()
    if name and streamed:
        picture(chat_page.page, name)

    chat_page.reload()
    expect(chat_page.answers).to_have_text([texts["answer_withheld"]])
    assert unsafe not in chat_page.screen()

    answer = stored.last("assistant")
    assert (answer["content"], said(answer)) == (texts["answer_withheld"], [texts["answer_withheld"]])
    assert not holds(answer.get("output"), unsafe)
    assert [body["stream"] for body in stack.chat_log() if body["messages"][-1]["content"] == prompt] == [streamed]


def test_the_turn_after_a_withheld_answer_contains_no_word_of_it(stack: Stack, chat_page: ChatPage) -> None:
    chat_page.ask(UNSAFE_ANSWER_PROMPT)
    expect(chat_page.answers).to_have_text([EN["answer_withheld"]])
    stored = chat_page.ask(NEXT_PROMPT)
    expect(chat_page.answers.last).to_contain_text(SAFE_ANSWER)
    assert not holds(stack.chat_log(), LOCK)
    assert stored.texts("originalContent") == [EN["answer_withheld"]]
    assert not holds(stored.chat, LOCK)


def test_the_tool_calls_of_an_answer_are_judged_too(visitor: Visitor) -> None:
    seen = visitor.ask(UNSAFE_TOOL_PROMPT)
    assert seen.text == EN["answer_withheld"]
    assert not holds(seen.answer.get("output"), LOCK)
