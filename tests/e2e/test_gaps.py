"""Demonstrates what the filter cannot cover: docs/coverage.md names these tests.

If a test fails here, Open WebUI has closed or changed a gap: change the table with it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from demo.stack.stack import SAFE_PROMPT, UNSAFE_ANSWER_PROMPT, UNSAFE_PROMPT, Stack
from demo.webui_client.host import FILTER, FILTER_REFUSAL
from demo.webui_client.visitor import Visitor
from tests.e2e.api_client import ApiClient
from tests.e2e.bystanders import Bystanders
from tests.e2e.chat_page import ChatPage
from tests.e2e.stored_chat import StoredChat, holds
from tests.e2e.texts import BOMB, CHAT_MODELS, EN, LOCK, NEXT_PROMPT
from tests.stands.waiting import wait_until


@pytest.fixture
def unfinished_answers(stack: Stack) -> Iterator[None]:
    """An unsafe answer stops after its first unsafe words, and has more."""
    stack.stop_answers(after=LOCK)
    yield
    stack.stop_answers(after="")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
def test_gap_an_api_client_gets_an_unsafe_answer_unmoderated(stack: Stack, stream: bool) -> None:
    assert LOCK in ApiClient(stack.user, CHAT_MODELS[0]).ask(UNSAFE_ANSWER_PROMPT, stream=stream)


def test_gap_the_pass_through_route_reaches_the_model_without_the_filter(stack: Stack) -> None:
    stack.clear_chat_log()
    client = ApiClient(stack.user, CHAT_MODELS[0])
    assert client.ask(UNSAFE_PROMPT, stream=False, path="/openai/chat/completions")
    assert holds(stack.chat_log(), BOMB)


@pytest.mark.usefixtures("unfinished_answers")
def test_gap_an_unsafe_answer_is_on_screen_until_it_is_complete(stack: Stack, chat_page: ChatPage) -> None:
    chat_page.send(UNSAFE_ANSWER_PROMPT)
    expect(chat_page.answers).to_contain_text([LOCK])
    stack.stop_answers(after="")
    expect(chat_page.answers).to_have_text([EN["answer_withheld"]])


@pytest.mark.usefixtures("unfinished_answers")
def test_gap_stop_keeps_the_text_written_so_far_until_the_next_turn(stack: Stack, chat_page: ChatPage) -> None:
    chat_page.send(UNSAFE_ANSWER_PROMPT)
    expect(chat_page.answers).to_contain_text([LOCK])
    chat_page.stop()
    stored = chat_page.settled(answers=1)
    chat_page.reload()
    expect(chat_page.answers).to_contain_text([LOCK])
    assert holds(stored.last("assistant")["content"], LOCK)

    stack.stop_answers(after="")
    stack.clear_chat_log()
    chat_page.ask(NEXT_PROMPT)
    assert not holds(stack.chat_log(), LOCK)
    expect(chat_page.answers.first).to_have_text(EN["answer_withheld"])


def test_gap_replaced_text_can_be_fetched_until_the_next_turn(stack: Stack, visitor: Visitor) -> None:
    refused, withheld = visitor.ask(UNSAFE_PROMPT), visitor.ask(UNSAFE_ANSWER_PROMPT)
    assert StoredChat.read(stack.user, refused.chat_id).texts("originalContent") == [UNSAFE_PROMPT]
    assert holds(StoredChat.read(stack.user, withheld.chat_id).texts("originalContent"), LOCK)


def test_gap_a_chats_first_prompt_stays_in_a_list_that_filters_do_not_get(stack: Stack, visitor: Visitor) -> None:
    refused = visitor.ask(UNSAFE_PROMPT)
    visitor.ask(NEXT_PROMPT, after=refused)
    stored = StoredChat.read(stack.user, refused.chat_id)
    assert stored.chat["chat"]["messages"][0]["content"] == UNSAFE_PROMPT
    assert not holds(stored.chat["chat"]["history"], BOMB)


def test_gap_without_title_generation_the_sidebar_shows_the_refused_prompt(stack: Stack, visitor: Visitor) -> None:
    seen = visitor.ask(UNSAFE_PROMPT, background_tasks={"title_generation": False})
    wait_until(lambda: StoredChat.read(stack.user, seen.chat_id).title == UNSAFE_PROMPT)


def test_gap_the_text_of_a_file_reaches_the_model_unjudged(stack: Stack, visitor: Visitor) -> None:
    with Bystanders(stack, file_text=UNSAFE_PROMPT).running() as bystanders:
        visitor.ask("What does the file say?", files=bystanders.request["files"])
    assert holds(stack.chat_log(), UNSAFE_PROMPT)


def test_gap_the_result_of_a_tool_reaches_the_model_unjudged(stack: Stack, visitor: Visitor) -> None:
    with Bystanders(stack, tool_result=UNSAFE_PROMPT).running():
        visitor.ask("Hello there, what time is it?", tool_ids=["clock"])
    assert holds(stack.chat_log(), UNSAFE_PROMPT)


@pytest.fixture
def connection(stack: Stack) -> Iterator[Callable[..., None]]:
    """Sets what the page calls a connection's prefix and its list of model ids, for the Pipelines server."""
    before = stack.admin.get("/openai/config")

    def set_connection(**details: Any) -> None:
        configs = before["OPENAI_API_CONFIGS"] | {"1": {"enable": True, **details}}
        stack.admin.post("/openai/config/update", before | {"OPENAI_API_CONFIGS": configs})
        stack.admin.get("/api/models", refresh=True)

    yield set_connection
    stack.admin.post("/openai/config/update", before)
    stack.admin.get("/api/models", refresh=True)


def test_gap_the_filters_switch_on_the_models_page_ends_moderation(stack: Stack, visitor: Visitor) -> None:
    # The page makes such a record at the first click on the switch.
    record: dict[str, Any] = {
        "id": FILTER,
        "base_model_id": None,
        "name": FILTER,
        "meta": {},
        "params": {},
        "access_grants": [],
    }
    stack.admin.post("/api/v1/models/create", record | {"is_active": False})
    try:
        stack.admin.get("/api/models", refresh=True)
        assert visitor.ask(UNSAFE_PROMPT).prompt == UNSAFE_PROMPT
        assert holds(stack.chat_log(), UNSAFE_PROMPT)
    finally:
        stack.admin.post("/api/v1/models/model/delete", {"id": FILTER})
        stack.admin.get("/api/models", refresh=True)
    assert visitor.ask(UNSAFE_PROMPT).text == EN["prompt_refused"]


def test_gap_a_list_of_model_ids_at_the_connection_ends_moderation(
    stack: Stack, visitor: Visitor, connection: Callable[..., None]
) -> None:
    # With the filter in the list too: Open WebUI then does not ask the server what the ids are.
    connection(model_ids=[FILTER, FILTER_REFUSAL])
    assert visitor.ask(UNSAFE_PROMPT).prompt == UNSAFE_PROMPT
    assert holds(stack.chat_log(), UNSAFE_PROMPT)


def test_a_prefix_of_the_connection_lets_nothing_pass(
    stack: Stack, visitor: Visitor, connection: Callable[..., None]
) -> None:
    connection(prefix_id="guard")
    for prompt in (SAFE_PROMPT, UNSAFE_PROMPT):
        assert visitor.ask(prompt).error
        assert not holds(stack.chat_log(), prompt)


def test_gap_without_the_pipelines_server_everything_passes(stack: Stack, visitor: Visitor) -> None:
    stack.stop_child("pipelines")
    try:
        seen = visitor.ask(UNSAFE_PROMPT)
    finally:
        stack.start_child("pipelines")
    assert (seen.prompt, seen.error) == (UNSAFE_PROMPT, "")
    assert holds(stack.chat_log(), UNSAFE_PROMPT)
    assert visitor.ask(SAFE_PROMPT).text
    assert visitor.ask(UNSAFE_PROMPT).text == EN["prompt_refused"]
