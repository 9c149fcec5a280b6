"""A guard that is stopped, silent or faulty: nothing unchecked passes, unless the admin wants it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.stack.stack import SAFE_PROMPT, UNSAFE_PROMPT, Stack
from demo.webui_client.visitor import Seen, Visitor
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN, NEXT_PROMPT, SAFE_ANSWER
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE, wait_until

# Of a guard that gives no verdict.
TIMEOUT = 4


@pytest.fixture
def stub(valves: Callable[..., None]) -> Iterator[StubGuard]:
    """A stub guard in place of the real one."""
    stub = StubGuard()
    with serve(stub.app) as url:
        valves(guard_base_url=f"{url}/v1")
        yield stub


def audited(stack: Stack, seen: Seen) -> list[dict[str, Any]]:
    """The chat's records, once there are any."""

    def found() -> list[dict[str, Any]]:
        return [record for record in stack.audit() if record.get("chat") == seen.chat_id]

    wait_until(found)
    return found()


def test_a_stopped_guard_withholds_until_it_is_back(
    stack: Stack, visitor: Visitor, valves: Callable[..., None]
) -> None:
    valves(timeout_seconds=TIMEOUT)
    stack.stop_child("guard")
    try:
        seen = visitor.ask(SAFE_PROMPT)
        assert seen.text == EN["not_checked"]
        assert not holds(stack.chat_log(), SAFE_PROMPT)
    finally:
        stack.start_child("guard")
    # The first verdict of a guard that has just started takes longer.
    valves(timeout_seconds=PATIENCE)
    assert SAFE_ANSWER in visitor.ask(SAFE_PROMPT, after=seen).text
    assert visitor.ask(UNSAFE_PROMPT).text == EN["prompt_refused"]


@pytest.mark.parametrize("trouble", ["hanging", "answering nonsense", "failing"])
def test_a_guard_that_gives_no_verdict_withholds_until_it_gives_one(
    stack: Stack, visitor: Visitor, stub: StubGuard, valves: Callable[..., None], trouble: str
) -> None:
    if trouble == "hanging":
        valves(timeout_seconds=TIMEOUT)
        stub.silent_about = SAFE_PROMPT
    stub.nonsense = "As a poet, I would rather not say." if trouble == "answering nonsense" else None
    stub.status = 500 if trouble == "failing" else 200
    seen = visitor.ask(SAFE_PROMPT)
    assert seen.text == EN["not_checked"]
    assert not holds(stack.chat_log(), SAFE_PROMPT)
    withheld = audited(stack, seen)
    assert {record["action"] for record in withheld} == {"withhold"}
    assert all(record["problem"] for record in withheld)

    stub.silent_about, stub.nonsense, stub.status = None, None, 200
    if trouble == "hanging":
        # With new settings, it is asked at once.
        valves(timeout_seconds=PATIENCE)
    if trouble == "failing":
        # A guard that did not answer is not asked for two seconds.
        time.sleep(2.5)
    again = visitor.ask(SAFE_PROMPT, after=seen)
    assert SAFE_ANSWER in again.text
    assert visitor.ask(UNSAFE_PROMPT, after=again).text == EN["prompt_refused"]


def test_an_answer_that_cannot_be_checked_is_withheld(stack: Stack, visitor: Visitor, stub: StubGuard) -> None:
    stub.status_about_answers = 500
    seen = visitor.ask(SAFE_PROMPT)
    assert (seen.prompt, seen.text) == (SAFE_PROMPT, EN["not_checked"])
    assert not holds(seen.answer.get("output"), SAFE_ANSWER)


def test_allow_passes_turns_that_cannot_be_checked_and_audits_them(
    stack: Stack, visitor: Visitor, stub: StubGuard, valves: Callable[..., None]
) -> None:
    valves(when_unavailable="allow")
    stub.nonsense = "no idea"
    seen = visitor.ask(NEXT_PROMPT)
    assert SAFE_ANSWER in seen.text
    wait_until(lambda: {record["direction"] for record in audited(stack, seen)} >= {"prompt", "response"})
    passed = audited(stack, seen)
    assert {record["action"] for record in passed} == {"pass"}
    assert all(record["problem"] for record in passed)
