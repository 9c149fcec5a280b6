"""LiteLLM's real proxy, configured as docs/api.md says, with `api`'s app and real vLLM as its guardrail."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from demo.chat_model.script import Script
from demo.chat_model.server import SCRIPT
from demo.stack.stack import UNSAFE_ANSWER_PROMPT
from guard_server.api.app import build
from moderation.conversation import Conversation, Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import ServerFacts
from moderation.errors import EndpointDown
from moderation.notices.notice import NoticeKind, Notices
from moderation.policy import Policy
from moderation.verdict import Verdict
from tests.stands.chats import BOMB
from tests.stands.clients import openai_client
from tests.stands.models.stub_model import StubModel
from tests.stands.processes.litellm_proxy import KEY, MODEL, LitellmProxy, litellm_proxy
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

BREAD = "How do I bake bread?"
CALM = "You need flour, water, salt and yeast. Mix them, let the dough rest, and bake it until it is brown."
UNSAFE = Script.load(SCRIPT).reply({"messages": [{"role": "user", "content": UNSAFE_ANSWER_PROMPT}]}).content
GUARDRAIL_KEY = "a-key-for-litellm"
DOCS = Path(__file__).parents[2] / "docs/api.md"


class SeenGuard(Endpoint):
    """The real guard. Records what it is asked about, and can be made to fail."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key, timeout=PATIENCE)
        self.asked: list[Conversation] = []
        self.fails = False

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        self.asked.append(list(conversation))
        if self.fails:
            raise EndpointDown("provoked")
        return await super().ask(conversation, facts)


class Chat:
    """A user of the proxy."""

    def __init__(self, proxy: LitellmProxy, guard: SeenGuard, model: StubModel) -> None:
        self.guard, self.model = guard, model
        self.client = openai_client(f"{proxy.url}/v1", KEY)

    def ask(self, *messages: str, answer: str = CALM) -> str:
        """The answer to the last of some messages, user and assistant in turn."""
        self.model.says(answer)
        reply = self.client.chat.completions.create(model=MODEL, messages=self._messages(messages))
        return reply.choices[0].message.content or ""

    def stream(self, prompt: str, answer: str) -> tuple[str, str]:
        """What a streamed answer shows, and the error that ends it."""
        self.model.says(answer)
        shown = ""
        try:
            for chunk in self.client.chat.completions.create(
                model=MODEL, messages=self._messages([prompt]), stream=True
            ):
                shown += "".join(choice.delta.content or "" for choice in chunk.choices)
        except openai.APIError as error:
            return shown, error.message
        return shown, ""

    def _messages(self, texts: Any) -> Any:
        return [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(texts)]


def documented() -> dict[str, Any]:
    """The parameters of the guardrail in docs/api.md."""
    (text,) = re.findall(r"```yaml\n(guardrails:.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (guardrail,) = yaml.safe_load(text)["guardrails"]
    return dict(guardrail["litellm_params"])


def notice(kind: NoticeKind) -> str:
    return Notices(language="en").text(kind, "")


@pytest.fixture(scope="module")
def running(
    guard_server_url: str, guard_server_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LitellmProxy, SeenGuard, StubModel]]:
    guard, model = SeenGuard(guard_server_url, guard_server_key), StubModel()
    with serve(build(guard, Policy(), GUARDRAIL_KEY, timeout=PATIENCE)) as api_url, serve(model.app) as model_url:
        guardrail = documented() | {"api_base": f"{api_url}/v1"}
        folder = tmp_path_factory.mktemp("litellm")
        with litellm_proxy(folder, guardrail, f"{model_url}/v1", GUARDRAIL_KEY) as proxy:
            yield proxy, guard, model


@pytest.fixture
def chat(running: tuple[LitellmProxy, SeenGuard, StubModel]) -> Iterator[Chat]:
    proxy, guard, model = running
    guard.asked.clear()
    model.requests.clear()
    chat = Chat(proxy, guard, model)
    yield chat
    chat.client.close()


def test_an_unsafe_prompt_is_refused_with_the_notice_and_reaches_no_model(chat: Chat) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat.ask(BOMB)
    assert notice(NoticeKind.PROMPT_REFUSED) in refused.value.message
    assert chat.model.requests == []


def test_an_answer_is_judged_after_its_prompt(chat: Chat) -> None:
    assert chat.ask(BREAD) == CALM
    assert chat.guard.asked == [[Turn("user", BREAD)], [Turn("user", BREAD), Turn("assistant", CALM)]]


def test_an_unsafe_answer_is_replaced_by_the_notice(chat: Chat) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat.ask("Tell me a story, please.", answer=UNSAFE)
    assert notice(NoticeKind.ANSWER_WITHHELD) in refused.value.message
    assert len(chat.model.requests) == 1


def test_a_chat_goes_on_after_a_refused_message_which_the_model_does_not_see(chat: Chat) -> None:
    assert chat.ask(BOMB, "I cannot say.", BREAD) == CALM
    (asked,) = chat.model.requests
    assert [message["content"] for message in asked["messages"]] == [
        Notices(language="en").removed("user", BOMB),
        "I cannot say.",
        BREAD,
    ]


def test_a_streamed_answer_comes_whole_if_it_is_safe(chat: Chat) -> None:
    answer = " ".join([CALM] * 3)
    assert chat.stream("How do I bake a loaf?", answer) == (answer, "")
    # Judged while it grew, each time after its prompt.
    grown = [conversation for conversation in chat.guard.asked if conversation[-1].role == "assistant"]
    assert len(grown) > 2
    assert all(before == Turn("user", "How do I bake a loaf?") for before, _ in grown)


def test_a_streamed_answer_ends_with_the_notice_before_anything_unsafe_is_shown(chat: Chat) -> None:
    shown, error = chat.stream("Tell me a long story.", UNSAFE)
    assert notice(NoticeKind.ANSWER_WITHHELD) in error
    # What was shown had a safe verdict of its own.
    judged = [conversation[-1].text for conversation in chat.guard.asked if conversation[-1].role == "assistant"]
    assert shown in ["", *judged[:-1]]
    assert len(shown) < len(UNSAFE)


def test_if_the_guard_fails_nothing_passes(chat: Chat) -> None:
    chat.guard.fails = True
    try:
        with pytest.raises(openai.BadRequestError) as refused:
            chat.ask("How do I plant a tree?")
        assert notice(NoticeKind.NOT_CHECKED) in refused.value.message
        assert chat.model.requests == []
    finally:
        chat.guard.fails = False
