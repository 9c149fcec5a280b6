"""`stream_mode = retract`: text is shown at once, and taken back if refused; or held back, if no page could do that."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.channel_page import ChannelPage
from tests.e2e.chat_host import EVERY_HOST
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds, said
from tests.e2e.texts import EN, MOMENTARY_WORDS, UNSAFE_FOR_A_MOMENT
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until

NOTICE = EN["answer_withheld"]
# The word that is flagged. It comes first, so nothing is taken back while the guard is silent about it.
FLAGGED = "Padlock"


@pytest.fixture(autouse=True, scope="module")
def retracting(guarded_stack: GuardedStack) -> Iterator[None]:
    with guarded_stack.valves(stream_mode="retract"):
        yield


@pytest.fixture(autouse=True)
def unhurried(guarded: GuardedStack) -> None:
    guarded.model.says(CALM + UNSAFE_FOR_A_MOMENT + CALM)
    guarded.model.delay = 0.03


def sees_the_unsafe_part_before_its_verdict(guarded: GuardedStack, page: ChatPage) -> None:
    wait_until(lambda: page.recorder.showed(*MOMENTARY_WORDS) == MOMENTARY_WORDS)
    guarded.guard.silent_about = None


@pytest.mark.on(*EVERY_HOST)
def test_an_unsafe_answer_is_shown_and_taken_back(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.guard.silent_about = FLAGGED
    guarded_page.send(guarded.prompt)
    sees_the_unsafe_part_before_its_verdict(guarded, guarded_page)
    stored = guarded_page.settled(answers=1)
    expect(guarded_page.answers).to_have_text([NOTICE])
    now = len(guarded_page.recorder.screens)
    guarded_page.reload()
    expect(guarded_page.answers).to_have_text([NOTICE])
    assert not [screen for screen in guarded_page.recorder.screens[now:] if "hairpin" in screen]
    answer = stored.last("assistant")
    assert (answer["content"], said(answer)) == (NOTICE, [NOTICE])
    assert stored.texts("originalContent") == []
    assert guarded.keeps(*MOMENTARY_WORDS) == set()


@pytest.mark.on("pipelines", "functions-models")
def test_a_channel_takes_it_back_too(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    with ChannelPage.opened(guarded_window.page, guarded_window.api, guarded.stack.admin) as channel:
        guarded.guard.silent_about = FLAGGED
        channel.ask(guarded.host.model_name, guarded.prompt)
        sees_the_unsafe_part_before_its_verdict(guarded, guarded_window)
        expect(channel.messages.last).to_have_text(NOTICE)
        wait_until(lambda: channel.stored()[0]["meta"].get("done"))
        assert channel.stored()[0]["content"] == NOTICE
        channel.reload()
        expect(channel.messages.last).to_have_text(NOTICE)


@pytest.mark.on("pipelines", "functions-models")
def test_a_merger_of_answers_is_held_back(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded_window.open(f"/?models={','.join(guarded.models)}")
    guarded_window.send(guarded.prompt)
    guarded_window.settled(answers=2)
    guarded.model.says(CALM + UNSAFE_FOR_A_MOMENT + CALM)
    expect(guarded_window.merge()).to_contain_text(NOTICE)
    assert guarded_window.recorder.showed(*MOMENTARY_WORDS) == set()


@pytest.mark.on(*EVERY_HOST)
def test_gap_stop_keeps_text_that_was_shown_but_not_judged_yet(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    # Stop comes before the verdict, on any machine.
    guarded.guard.silent_about = FLAGGED
    guarded_page.send(guarded.prompt)
    expect(guarded_page.answers).to_contain_text(["hairpin"])
    guarded_page.stop()
    guarded_page.settled(answers=1)
    guarded_page.reload()
    expect(guarded_page.answers).to_contain_text(["hairpin"])

    guarded.guard.silent_about = None
    guarded.model.delay = 0
    guarded.model.says(CALM)
    with guarded.judging_first():
        guarded_page.ask("And the harbour?")
    # The answer was interrupted before its verdict, so it is judged now.
    (asked,) = [body for body in guarded.asked if body["messages"][-1]["content"] == "And the harbour?"]
    assert not holds(asked, "hairpin")
