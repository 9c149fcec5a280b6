"""An unsafe answer, in `hold`: the page never shows a word of it, and nothing keeps one."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from demo.stack.stack import SAFE_PROMPT
from tests.e2e.channel_page import ChannelPage
from tests.e2e.chat_host import CHAT_HOSTS, EVERY_HOST
from tests.e2e.chat_page import ChatPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.screenshots import picture
from tests.e2e.stored_chat import StoredChat, holds, said
from tests.e2e.streamed_answers import shown_before_the_rest, stop_after_beginning
from tests.e2e.texts import EN, UNSAFE, UNSAFE_WORDS
from tests.e2e.user_settings import interface
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until

NOTICE = EN["answer_withheld"]
CALM_WORDS = "calm day"


@pytest.fixture(autouse=True)
def unhurried(guarded: GuardedStack) -> None:
    """Slow enough that the page shows each part, and that checks are in progress when more text arrives."""
    guarded.model.delay = 0.03
    guarded.guard.delay = 0.05


@pytest.fixture(params=[True, False], ids=["streamed", "not streamed"])
def streamed(guarded: GuardedStack, request: pytest.FixtureRequest) -> Iterator[bool]:
    """Answers streamed or not, with the reasoning unfolded, which the page folds by default."""
    with interface(guarded.stack.user, params={"stream_response": request.param}, expandDetails=True):
        yield request.param


@pytest.mark.on(*EVERY_HOST)
@pytest.mark.parametrize(
    ("answer", "reasoning"),
    [
        (CALM + UNSAFE + CALM, ""),
        (CALM, CALM + UNSAFE + CALM),
        (f"<think>{CALM}{UNSAFE}</think>{CALM}", ""),
    ],
    ids=["answer", "reasoning", "think tags"],
)
def test_an_unsafe_answer_is_never_on_screen(
    guarded: GuardedStack, streamed: bool, guarded_page: ChatPage, answer: str, reasoning: str
) -> None:
    guarded.model.says(answer, reasoning=reasoning)
    streams = guarded.host.streams(streamed)
    # The safe beginning, if the page gets it before the whole answer.
    with shown_before_the_rest(guarded, guarded_page, *([CALM_WORDS] if streams else [])):
        guarded_page.send(guarded.prompt)
    stored = guarded_page.settled(answers=1)
    expect(guarded_page.answers).to_have_text([NOTICE])
    guarded_page.reload()
    expect(guarded_page.answers).to_have_text([NOTICE])
    assert bool(guarded_page.recorder.showed(CALM_WORDS)) is streams
    assert guarded.leaked(guarded_page.recorder) == set()
    kept = stored.last("assistant")
    assert (kept["content"], said(kept)) == (NOTICE, [NOTICE])
    assert stored.texts("originalContent") == []
    asked = [body["stream"] for body in guarded.model.requests if body["messages"][-1]["content"] == guarded.prompt]
    assert asked == [streams]


@pytest.mark.on(*EVERY_HOST)
def test_a_safe_answer_is_shown_while_it_is_written(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM * 2, reasoning=CALM * 2)
    with interface(guarded.stack.user, expandDetails=True):
        guarded_window.open()
        with shown_before_the_rest(guarded, guarded_window, CALM_WORDS):
            guarded_window.send(guarded.prompt)
        stored = guarded_window.settled(answers=1)
    assert [text.strip() for text in said(stored.last("assistant"))] == [(CALM * 2).strip()] * 2
    expect(guarded_window.answers).to_contain_text([(CALM * 2).strip()])
    # Two in the reasoning, two in the answer.
    wait_until(lambda: {0, 4} <= guarded_window.recorder.counted("the sea, and"))


@pytest.mark.on(*EVERY_HOST)
def test_a_temporary_chat_shows_no_word_of_an_unsafe_answer(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded_window.open("/?temporary-chat=true")
    with shown_before_the_rest(guarded, guarded_window, CALM_WORDS):
        guarded_window.send(guarded.prompt)
    expect(guarded_window.answers).to_have_text([NOTICE])
    assert guarded.leaked(guarded_window.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_a_channel_shows_no_word_of_an_unsafe_answer(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    with ChannelPage.opened(guarded_window.page, guarded_window.api, guarded.stack.admin) as channel:
        with shown_before_the_rest(guarded, guarded_window, CALM_WORDS):
            channel.ask(guarded.host.model_name, guarded.prompt)
        expect(channel.messages.last).to_have_text(NOTICE)
        wait_until(lambda: channel.stored()[0]["meta"].get("done"))
        channel.reload()
        expect(channel.messages.last).to_have_text(NOTICE)
        assert channel.stored()[0]["content"] == NOTICE
    assert guarded.leaked(guarded_window.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_two_models_at_once_show_no_word_of_an_unsafe_answer(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded_window.open(f"/?models={','.join(guarded.models)}")
    with shown_before_the_rest(guarded, guarded_window, CALM_WORDS):
        guarded_window.send(guarded.prompt)
    stored = guarded_window.settled(answers=2)
    expect(guarded_window.answers).to_have_text([NOTICE] * 2)
    assert [message["content"] for message in stored.messages if message["role"] == "assistant"] == [NOTICE] * 2
    assert guarded.leaked(guarded_window.recorder) == set()


@pytest.mark.on("pipelines", "functions-models")
def test_an_unsafe_merger_of_several_answers_is_withheld(guarded: GuardedStack, guarded_window: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded_window.open(f"/?models={','.join(guarded.models)}")
    guarded_window.send(guarded.prompt)
    guarded_window.settled(answers=2)
    expect(guarded_window.answers).to_have_text([CALM.strip()] * 2)
    guarded.model.says(CALM + UNSAFE + CALM)
    stop_after_beginning(guarded)
    merged = guarded_window.merge()
    expect(merged).to_contain_text(CALM_WORDS)
    guarded.model.stops_after = None
    expect(merged).to_contain_text(NOTICE)
    assert CALM_WORDS in merged.inner_text()
    wait_until(lambda: holds(StoredChat.read(guarded_window.api, guarded_window.chat_id).chat, NOTICE))
    guarded_window.reload()
    expect(guarded_window.page.locator("#messages-container .markdown-prose").last).to_contain_text(NOTICE)
    assert guarded.leaked(guarded_window.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_a_regenerated_answer_that_is_unsafe_is_withheld(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded_page.ask(guarded.prompt)
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded_page.regenerate()
    stored = guarded_page.settled(answers=2)
    expect(guarded_page.answers).to_have_text([NOTICE])
    assert [text.strip() for text in stored.texts("content")[1:]] == [CALM.strip(), NOTICE]
    assert guarded.leaked(guarded_page.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_an_unsafe_continuation_of_an_answer_is_withheld(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM)
    guarded_page.ask(guarded.prompt)
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded_page.proceed()
    expect(guarded_page.answers).to_contain_text([NOTICE])
    guarded_page.settled(answers=1)
    guarded_page.reload()
    # The text shown before was judged safe, and stays.
    expect(guarded_page.answers).to_have_text([f"{CALM.strip()} {NOTICE}"], use_inner_text=True)
    assert guarded.leaked(guarded_page.recorder) == set()


@pytest.mark.on(*EVERY_HOST)
def test_the_chat_continues_after_a_withheld_answer(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded_page.ask("Please write a short story about a cat burglar.")
    guarded.model.says("Paris. It is lovely in spring.")
    guarded_page.ask(SAFE_PROMPT)
    expect(guarded_page.answers).to_have_text([NOTICE, "Paris. It is lovely in spring."])
    if guarded.host is CHAT_HOSTS["pipelines"]:
        picture(guarded_page.page, "guarded-answer")
    assert holds(guarded.model.requests, NOTICE)
    assert not [word for word in UNSAFE_WORDS if holds(guarded.model.requests, word)]
