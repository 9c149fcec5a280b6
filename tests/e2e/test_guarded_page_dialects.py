"""An unsafe answer in the dialects of real servers: the page never shows a word of it, and none is stored."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.chat_host import EVERY_HOST
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.texts import EN, UNSAFE
from tests.stands.chats import CALM
from tests.stands.models.upstream_dialects import chunk, spoken


@pytest.mark.on(*EVERY_HOST)
@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("azure", {"content": CALM + UNSAFE + CALM}),
        ("openrouter", {"content": CALM, "reasoning": CALM + UNSAFE + CALM}),
    ],
)
def test_an_unsafe_answer_is_never_on_screen(
    guarded: GuardedStack, guarded_page: ChatPage, dialect: str, said: dict[str, Any]
) -> None:
    guarded.model.chunks = spoken(dialect, **said)
    guarded.model.delay, guarded.guard.delay = 0.03, 0.05
    guarded_page.ask(guarded.prompt)
    expect(guarded_page.answers).to_have_text([EN["answer_withheld"]])
    guarded_page.reload()
    expect(guarded_page.answers).to_have_text([EN["answer_withheld"]])
    assert guarded.leaked(guarded_page.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_nothing_that_open_webui_would_act_on_passes_from_a_model(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    acting = [
        {"event": {"type": "message", "data": {"content": UNSAFE}}},
        {"sources": [{"source": {"name": UNSAFE}, "document": [UNSAFE]}]},
        {"selected_model_id": UNSAFE},
    ]
    # As the first event, it would begin an answer of the Responses API, which is judged.
    later = {"type": "response.output_text.delta", "delta": UNSAFE}
    guarded.model.chunks = [*acting, chunk({"content": CALM}), later, *acting, chunk({}, "stop")]
    guarded_page.ask(guarded.prompt)
    expect(guarded_page.answers).to_contain_text([CALM.strip()])
    assert guarded.leaked(guarded_page.recorder) == set()
