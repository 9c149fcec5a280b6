"""Guarded models when a user leaves or a server fails: nothing unsafe is shown or stored, and the chat continues."""

import pytest
from playwright.sync_api import expect

from tests.e2e.chat_host import EVERY_HOST
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import UPSTREAM_KEY, GuardedStack
from tests.e2e.stored_chat import StoredChat, holds
from tests.e2e.streamed_answers import stop_after_beginning
from tests.e2e.texts import EN, UNSAFE, UNSAFE_START
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until

NOTICE = EN["answer_withheld"]
CALM_WORDS = "calm day"


@pytest.fixture(autouse=True)
def unhurried(guarded: GuardedStack) -> None:
    """The answer, which turns unsafe in its third sentence, would take more than five minutes."""
    guarded.model.says(CALM * 2 + UNSAFE + CALM * 300)
    guarded.model.delay = 0.05


def begin(guarded: GuardedStack, page: ChatPage) -> None:
    """The page shows the beginning of the answer to the first prompt, and the model has stopped there."""
    stop_after_beginning(guarded)
    page.send(guarded.prompt)
    page.page.wait_for_url("**/c/*")
    wait_until(lambda: page.recorder.showed(CALM_WORDS))


def directions(guarded: GuardedStack, stored: StoredChat) -> list[str]:
    """The directions of the audit's records of the newest prompt and answer, without tasks and Open WebUI's own tools.

    Those tools are in every request, and are judged only in the first one.
    """
    message = stored.last("assistant")["id"]

    def found() -> list[str]:
        records = [record for record in guarded.audit(stored.chat["id"]) if record.get("message") == message]
        return [record["direction"] for record in records if record["direction"] != "tools"]

    wait_until(lambda: len(found()) >= 2)
    return found()


def stop(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    """Presses Stop, and looks for what stays."""
    guarded_page.stop()
    wait_until(lambda: not guarded.model.streaming)
    # Long before its own end.
    assert set(guarded.model.whole) == {False}
    stored = guarded_page.settled(answers=1)
    guarded_page.page.reload()
    expect(guarded_page.prompts).to_have_text([guarded.prompt])
    assert guarded.leaked(guarded_page.recorder) == set()
    assert directions(guarded, stored) == ["prompt", "response"]


def asked_about_the_unsafe_part(guarded: GuardedStack) -> bool:
    return any(UNSAFE_START in text for text in guarded.guard.judged)


def test_stop_while_the_first_words_wait_for_their_verdict_shows_nothing(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    guarded.guard.silent_about = CALM_WORDS
    guarded_page.send(guarded.prompt)
    guarded_page.page.wait_for_url("**/c/*")
    wait_until(lambda: any(CALM_WORDS in text for text in guarded.guard.judged))
    stop(guarded, guarded_page)
    assert guarded_page.recorder.received(CALM_WORDS) == set()


@pytest.mark.on(*EVERY_HOST)
def test_stop_in_the_safe_beginning_keeps_nothing_unsafe(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    begin(guarded, guarded_page)
    stop(guarded, guarded_page)


@pytest.mark.on(*EVERY_HOST)
def test_stop_while_the_unsafe_part_waits_for_its_verdict_keeps_nothing_of_it(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    begin(guarded, guarded_page)
    guarded.guard.silent_about = UNSAFE_START
    guarded.model.stops_after = None
    wait_until(lambda: asked_about_the_unsafe_part(guarded))
    stop(guarded, guarded_page)


# A Function filter asks the guard only when an event comes, and the next event may confirm the flag.
@pytest.mark.on("pipelines", "functions-models")
def test_stop_while_a_flag_waits_to_be_confirmed_keeps_nothing_unsafe(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    begin(guarded, guarded_page)
    # A flag is confirmed on more text, and no other word comes.
    guarded.model.stops_after = 2 + len(f"{CALM * 2}{UNSAFE_START} ") // 4
    wait_until(lambda: asked_about_the_unsafe_part(guarded))
    wait_until(lambda: not guarded.guard.at_once)
    stop(guarded, guarded_page)


@pytest.mark.on(*EVERY_HOST)
def test_after_a_closed_tab_the_stored_chat_has_the_notice(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    begin(guarded, guarded_page)
    chat_id = guarded_page.chat_id
    guarded_page.page.close()
    guarded.model.stops_after = None
    stored = StoredChat.settled(guarded.stack.user, chat_id)
    assert stored.last("assistant")["content"] == NOTICE
    assert guarded.leaked(guarded_page.recorder) == set()
    assert directions(guarded, stored) == ["prompt", "response"]
    # Open WebUI continues an answer without its reader; the refusal ends it, long before its own end.
    wait_until(lambda: not guarded.model.streaming)
    assert set(guarded.model.whole) == {False}


@pytest.mark.on(*EVERY_HOST)
def test_a_page_that_is_reloaded_during_the_answer_shows_the_notice(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    begin(guarded, guarded_page)
    guarded_page.page.reload()
    guarded.model.stops_after = None
    expect(guarded_page.answers).to_have_text([NOTICE])
    stored = guarded_page.settled(answers=1)
    assert stored.last("assistant")["content"] == NOTICE
    assert guarded.leaked(guarded_page.recorder) == set()
    assert directions(guarded, stored) == ["prompt", "response"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "The model server refuses its key (401): an admin must set upstream_api_keys."),
        (429, "The model server answered 429: too busy for ***"),
        (500, "The model server answered 500: too busy for ***"),
        (200, "The model server cannot be reached, or broke the connection. Please try again."),
    ],
    ids=["401", "429", "500", "breaks off"],
)
def test_a_failing_model_server_is_reported_in_words_and_may_be_asked_again(
    guarded: GuardedStack, guarded_page: ChatPage, status: int, words: str
) -> None:
    guarded.model.status, guarded.model.error = status, f"too busy for {UPSTREAM_KEY}"
    # If it answers at all, it breaks off before the answer turns unsafe.
    guarded.model.abort_after = 40
    stored = guarded_page.ask(guarded.prompt)
    expect(guarded_page.page.locator("#messages-container").get_by_text(words)).to_be_visible()
    assert "{" not in guarded_page.screen()
    assert guarded_page.recorder.showed(UPSTREAM_KEY) == set()
    assert not holds(stored.chat, UPSTREAM_KEY)
    assert guarded.leaked(guarded_page.recorder) == set()
    assert directions(guarded, stored) == ["prompt", "response"]

    guarded.model.status, guarded.model.abort_after, guarded.model.delay = 200, None, 0
    guarded.model.says(CALM)
    guarded_page.ask("And the harbour?")
    expect(guarded_page.answers.last).to_have_text(CALM.strip())


@pytest.mark.on("pipelines", "functions-models")
def test_an_interrupted_unsafe_answer_is_withheld(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.abort_after = 55
    guarded_page.ask(guarded.prompt)
    expect(guarded_page.answers).to_have_text([NOTICE])
    assert guarded.leaked(guarded_page.recorder) == set()


# No hook of a filter is called then.
@pytest.mark.on("functions-filter")
def test_of_an_answer_that_breaks_off_only_what_was_judged_is_shown(
    guarded: GuardedStack, guarded_page: ChatPage
) -> None:
    guarded.model.abort_after = 55
    guarded_page.ask(guarded.prompt)
    expect(guarded_page.answers).to_contain_text(["Response payload is not completed"])
    assert guarded.leaked(guarded_page.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_if_the_guard_dies_during_an_answer_the_rest_is_withheld(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM * 5 + UNSAFE)
    begin(guarded, guarded_page)
    guarded.stop_guard()
    guarded.model.stops_after = None
    try:
        expect(guarded_page.answers).to_have_text([EN["not_checked"]])
        stored = guarded_page.settled(answers=1)
    finally:
        guarded.start_guard()
    guarded_page.reload()
    expect(guarded_page.answers).to_have_text([EN["not_checked"]])
    assert guarded.leaked(guarded_page.recorder) == set()
    assert directions(guarded, stored) == ["prompt", "response"]

    guarded.model.says(CALM)
    guarded.model.delay = 0
    # A guard that did not answer is not asked for two seconds.
    guarded_page.page.wait_for_timeout(2500)
    guarded_page.ask("And the harbour?")
    expect(guarded_page.answers.last).to_have_text(CALM.strip())
