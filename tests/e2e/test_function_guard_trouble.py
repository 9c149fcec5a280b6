"""The Functions when the guard is down, slow, failing or answers nonsense: withheld, in words, and audited."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo.webui_client.visitor import Visitor
from tests.e2e.chat_host import FUNCTIONS
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until

# An admin's limit for a verdict.
LIMIT = 1.5


@contextmanager
def down(guarded: GuardedStack) -> Iterator[None]:
    guarded.stop_guard()
    try:
        yield
    finally:
        guarded.start_guard()


@contextmanager
def slow(guarded: GuardedStack) -> Iterator[None]:
    guarded.guard.silent_about = guarded.prompt
    yield


@contextmanager
def failing(guarded: GuardedStack) -> Iterator[None]:
    guarded.guard.status = 500
    yield


@contextmanager
def talking_nonsense(guarded: GuardedStack) -> Iterator[None]:
    guarded.guard.nonsense = "The weather is fine."
    yield


@pytest.mark.on(*FUNCTIONS)
@pytest.mark.parametrize("number", range(4), ids=["down", "slow", "failing", "nonsense"])
def test_a_prompt_without_a_verdict_is_withheld(guarded: GuardedStack, number: int) -> None:
    guarded.model.says(CALM)
    trouble = (down, slow, failing, talking_nonsense)[number]
    prompt = f"{guarded.prompt} {trouble.__name__}"
    # With settings of its own each has a guard that has not failed before.
    with guarded.judging_first(timeout_seconds=LIMIT + number / 10):
        with trouble(guarded):
            seen = Visitor(guarded.stack.user, guarded.models[0]).ask(prompt)
        assert guarded.host.refusal(seen) == EN["not_checked"]
        # A filter sees no task, such as the title of a new chat.
        reached = [body for body in guarded.model.requests if holds(body, prompt)]
        assert reached == [] or not guarded.host.guards_models
        assert all(holds(body, "### Task:") for body in reached)

        def records() -> list[dict[str, Any]]:
            return [record for record in guarded.audit(seen.chat_id) if record["direction"] == "prompt"]

        wait_until(records)
    assert {record["action"] for record in records()} == {"withhold"}
    assert all(record["problem"] for record in records())
