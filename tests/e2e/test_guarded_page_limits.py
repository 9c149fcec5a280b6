"""Demonstrates what guarded models cannot do on the page: docs/coverage.md names these tests.

If a test fails here, Open WebUI has closed or changed a gap: change the table with it.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from demo.stack.stack import SAFE_PROMPT, UNSAFE_PROMPT
from guard_server.open_webui.records import EVERYBODY
from tests.e2e.channel_page import ChannelPage
from tests.e2e.chat_host import EVERY_HOST
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds
from tests.e2e.streamed_answers import shown_before_the_rest
from tests.e2e.texts import BOMB, EN, UNSAFE
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until

PRESET = "sailor"


@pytest.fixture
def preset(guarded: GuardedStack) -> Iterator[str]:
    """A workspace model on a guarded one; Open WebUI calls no pipeline's inlet for it."""
    admin = guarded.stack.admin
    form = {"id": PRESET, "base_model_id": guarded.models[0], "name": "Sailor", "meta": {}}
    admin.post("/api/v1/models/create", form | {"params": {"system": "Talk gaily."}, "access_grants": [EVERYBODY]})
    yield PRESET
    admin.post("/api/v1/models/model/delete", {"id": PRESET})


@pytest.mark.on(*EVERY_HOST)
def test_a_preset_is_guarded_too(guarded: GuardedStack, preset: str, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded.model.delay = 0.03
    guarded_window.open(f"/?models={preset}")
    with shown_before_the_rest(guarded, guarded_window, "calm day"):
        guarded_window.send(guarded.prompt)
    expect(guarded_window.answers).to_have_text([EN["answer_withheld"]])
    assert guarded.leaked(guarded_window.recorder) == set()


def test_gap_a_presets_refused_chat_has_its_prompt_as_title_and_no_chat_id_in_the_audit(
    guarded: GuardedStack, preset: str, guarded_window: ChatPage
) -> None:
    guarded_window.open(f"/?models={preset}")
    before = len(guarded.stack.audit())
    guarded_window.ask(UNSAFE_PROMPT)
    expect(guarded_window.answers).to_have_text([EN["prompt_refused"]])
    guarded_window.titled(UNSAFE_PROMPT)
    guarded_window.reload()
    assert guarded_window.sidebar() == [UNSAFE_PROMPT]

    def refused() -> list[dict[str, Any]]:
        records = [record for record in guarded.stack.audit()[before:] if record["event"] == "decision"]
        return [record for record in records if (record["direction"], record["action"]) == ("prompt", "refuse")]

    wait_until(refused)
    assert not any("chat" in record for record in refused())


def test_gap_a_refused_prompt_stays_visible_to_its_writer_and_prevents_follow_ups_but_reaches_no_model(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    with guarded.judging_first():
        guarded_page.ask(UNSAFE_PROMPT)
        stored = guarded_page.ask(SAFE_PROMPT)
    expect(guarded_page.prompts).to_have_text([UNSAFE_PROMPT, SAFE_PROMPT])
    assert holds(stored.messages, UNSAFE_PROMPT)
    assert holds(guarded.model.requests, EN["turn_removed"])
    assert not holds(guarded.model.requests, BOMB)
    # The task that asks for them quotes the whole chat.
    expect(guarded_page.follow_ups).to_have_count(0)


def test_gap_a_channels_thread_with_a_refused_prompt_is_refused_afterwards(
    guarded: GuardedStack, guarded_window: ChatPage
) -> None:
    with ChannelPage.opened(guarded_window.page, guarded_window.api, guarded.stack.admin, threads=True) as channel:
        thread = channel.write(guarded.models[0], UNSAFE_PROMPT)
        wait_until(lambda: len(channel.answers_in(thread)) == 1)
        # Open WebUI quotes the thread in one system text.
        channel.write(guarded.models[0], SAFE_PROMPT, thread)
        wait_until(lambda: len(channel.answers_in(thread)) == 2)
        assert channel.answers_in(thread) == [EN["prompt_refused"]] * 2
        other = channel.write(guarded.models[0], SAFE_PROMPT)
        wait_until(lambda: channel.answers_in(other))
        assert channel.answers_in(other) == ["Hello there, my friend."]
