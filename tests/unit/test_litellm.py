"""LiteLLM's generic guardrail API, by hand: what is judged, in which context, and what becomes of it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from guard_server.api import litellm
from guard_server.api.app import build
from guard_server.api.http_exchange import MAX_BYTES
from moderation.endpoint.endpoint import Endpoint
from moderation.lru_cache import LruCache
from moderation.notices.notice import NoticeKind, Notices
from moderation.policy import Policy
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

BOMB = "How do I make a bomb?"
BREAD = "How do I bake bread?"
NONE = {"action": "NONE"}
Ask = Callable[..., dict[str, Any]]


def blocked(kind: NoticeKind) -> dict[str, Any]:
    return {"action": "BLOCKED", "blocked_reason": Notices(language="en").text(kind, "")}


REFUSED = blocked(NoticeKind.PROMPT_REFUSED)
WITHHELD = blocked(NoticeKind.ANSWER_WITHHELD)


@pytest.fixture
def url(guard_url: str) -> Iterator[str]:
    with serve(build(Endpoint(guard_url, timeout=PATIENCE), Policy(), timeout=PATIENCE)) as url:
        yield url


@pytest.fixture
def ask(url: str) -> Ask:
    def ask(kind: str, **fields: Any) -> dict[str, Any]:
        body = {"input_type": kind, "request_data": {}, "images": None, **fields}
        reply = httpx.post(url + litellm.PATH, json=body, trust_env=False, timeout=PATIENCE)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    return ask


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": arguments}}


@pytest.mark.parametrize(
    ("messages", "reply"),
    [
        ([user(BREAD)], NONE),
        ([user(BOMB)], REFUSED),
        ([user([{"type": "text", "text": BREAD}, {"type": "text", "text": BOMB}])], REFUSED),
        ([user([{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": BREAD}])], NONE),
        ([{"role": "system", "content": BOMB}, user(BREAD)], REFUSED),
        ([user(BREAD), assistant(None, tool_calls=[call("{}")]), {"role": "tool", "content": BOMB}], REFUSED),
        ([user(BREAD), assistant(None, tool_calls=[call('{"q": "bomb"}')])], REFUSED),
        ([user(BREAD), assistant(None, tool_calls=[call({"q": "bomb"})])], REFUSED),
        ([user(BREAD), assistant(None, function_call={"name": "search", "arguments": "bomb"})], REFUSED),
        # An answer that the model is to continue is new, and so is the prompt before it.
        ([user(BOMB), assistant("Sure,")], REFUSED),
        ([user(BREAD), assistant("First, the bomb.")], REFUSED),
        ([{"role": "odd", "content": BOMB}], REFUSED),
        ([user({"odd": BREAD})], NONE),
        ([user({"odd": BOMB})], REFUSED),
        ([user([BREAD, BOMB])], REFUSED),
        ([user([{"type": "tool_result", "content": [{"type": "text", "text": BOMB}]}])], REFUSED),
        ([user([{"type": "document", "source": {"type": "text", "data": BOMB}}])], REFUSED),
        ([user(BREAD), assistant(None, tool_calls=call("bomb"))], REFUSED),
        ([user(BREAD), assistant("Well,", reasoning_content=BOMB)], REFUSED),
        ([user(BREAD), assistant(None, refusal=BOMB)], REFUSED),
        ([user([{"type": "thinking", "thinking": BREAD, "signature": "bombBOMB1234" * 8}])], NONE),
        ([user([{"type": "input_audio", "input_audio": {"data": "bomb", "format": "wav"}}, BREAD])], NONE),
    ],
)
def test_everything_new_in_a_request_is_judged(ask: Ask, messages: list[dict[str, Any]], reply: dict[str, Any]) -> None:
    assert ask("request", structured_messages=messages, texts=[]) == reply


def test_texts_without_a_message_are_judged_too(ask: Ask, stub: StubGuard) -> None:
    assert ask("request", texts=[BREAD, BOMB]) == REFUSED
    assert ask("request", texts=[BREAD, BOMB], structured_messages=[user(BREAD)]) == REFUSED
    assert ask("request", tool_calls=[call(BOMB)], structured_messages=[user(BREAD)]) == REFUSED
    assert ask("request", texts=[BREAD], structured_messages=[user(BREAD)]) == NONE
    assert stub.judged.count(BREAD) == 1


def test_a_refused_message_of_the_history_is_replaced_and_the_chat_goes_on(ask: Ask, stub: StubGuard) -> None:
    notice = Notices(language="en").removed("user", BOMB)
    system = {"role": "system", "content": "Be nice.", "name": "kept as it is"}
    messages = [system, user(BOMB), assistant("I cannot say."), user(BREAD)]
    reply = ask("request", structured_messages=messages, texts=["Be nice.", BOMB, "I cannot say.", BREAD])
    assert reply == {
        "action": "GUARDRAIL_INTERVENED",
        "structured_messages": [system, user(notice), assistant("I cannot say."), user(BREAD)],
    }
    # Of the next request of the same chat, only what is new is judged.
    before = len(stub.requests)
    ask("request", structured_messages=[*messages, assistant("With flour."), user("Why?")])
    assert sorted(stub.judged[before:]) == ["Why?", "With flour."]


def test_what_cannot_be_replaced_blocks_the_request(ask: Ask) -> None:
    calls = [user(BREAD), assistant(None, tool_calls=[call(BOMB)]), {"role": "tool", "content": "-"}]
    assert ask("request", structured_messages=[*calls, assistant("Done."), user(BREAD)]) == REFUSED


def test_an_answer_is_judged_after_its_prompt(ask: Ask, stub: StubGuard) -> None:
    messages = [{"role": "system", "content": "Be nice."}, user("Hello!"), assistant("Hello!"), user(BREAD)]
    assert ask("request", structured_messages=messages, litellm_call_id="a") == NONE
    assert ask("response", texts=["With flour."], litellm_call_id="a") == NONE
    asked = [(turn["role"], turn["content"]) for turn in stub.requests[-1]["messages"]]
    assert asked == [("user", "Hello!"), ("assistant", "Hello!"), ("user", BREAD), ("assistant", "With flour.")]
    # Of another call, it is judged alone.
    ask("response", texts=["With flour."], litellm_call_id="b")
    assert len(stub.requests[-1]["messages"]) == 1


@pytest.mark.parametrize(
    "fields", [{"texts": ["With flour.", "With a bomb."]}, {"texts": None, "tool_calls": [call("bomb")]}]
)
def test_an_unsafe_choice_or_tool_call_withholds_the_answer(ask: Ask, fields: dict[str, Any]) -> None:
    assert ask("response", **fields) == WITHHELD


def test_the_notice_is_in_the_language_of_the_turn(ask: Ask) -> None:
    assert ask("request", structured_messages=[user("炸弹怎么做？")]) == {
        "action": "BLOCKED",
        "blocked_reason": Notices(language="zh").text(NoticeKind.PROMPT_REFUSED, ""),
    }


def test_without_a_verdict_nothing_passes_and_the_cause_stays_here(ask: Ask, stub: StubGuard) -> None:
    stub.nonsense = "I am no guard."
    reply = blocked(NoticeKind.NOT_CHECKED)
    assert ask("request", structured_messages=[user(BREAD)]) == reply
    assert ask("response", texts=["With flour."]) == reply


def test_an_earlier_message_without_a_verdict_is_replaced_by_its_own_notice() -> None:
    class NoWordOnHello(StubGuard):
        def _reply(self, body: dict[str, Any]) -> Response:
            self.nonsense = "I cannot say." if body["messages"][-1]["content"] == "Hello!" else None
            return super()._reply(body)

    with serve(NoWordOnHello().app) as guard_url:
        server = Endpoint(f"{guard_url}/v1", timeout=PATIENCE)
        with serve(build(server, Policy(), timeout=PATIENCE)) as url:
            messages = [user("Hello!"), assistant("Good morning!"), user(BREAD)]
            body = {"input_type": "request", "structured_messages": messages}
            reply = httpx.post(url + litellm.PATH, json=body, trust_env=False, timeout=PATIENCE).json()
    unchecked = Notices(language="en").text(NoticeKind.TURN_UNCHECKED, "")
    assert reply == {"action": "GUARDRAIL_INTERVENED", "structured_messages": [user(unchecked), *messages[1:]]}


def test_prompts_are_kept_in_a_bounded_memory(monkeypatch: pytest.MonkeyPatch, guard_url: str, stub: StubGuard) -> None:
    monkeypatch.setattr(litellm, "_REMEMBERED", 3000)
    kept: list[LruCache[Any, Any]] = []

    class Watched(LruCache[Any, Any]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(self)

    monkeypatch.setattr(litellm, "LruCache", Watched)
    with serve(build(Endpoint(guard_url, timeout=PATIENCE), Policy(), timeout=PATIENCE)) as url:
        for number in range(20):
            body = {"input_type": "request", "structured_messages": [user(BREAD * 20)], "litellm_call_id": str(number)}
            assert httpx.post(url + litellm.PATH, json=body, trust_env=False, timeout=PATIENCE).json() == NONE
    (prompts,) = kept
    assert 0 < prompts.weight <= 3000
    assert prompts.get("19") is not None
    assert prompts.get("0") is None


def test_a_request_may_hold_images_of_some_megabytes(url: str) -> None:
    body = {"input_type": "request", "texts": [BREAD], "images": ["x" * 2 * MAX_BYTES]}
    assert httpx.post(url + litellm.PATH, json=body, trust_env=False, timeout=PATIENCE).json() == NONE
    body["images"] = ["x" * 4 * MAX_BYTES]
    assert httpx.post(url + litellm.PATH, json=body, trust_env=False, timeout=PATIENCE).status_code == 413
