"""What a Pipelines filter cannot see, and the others can: what Open WebUI adds to a prompt."""

import pytest

from demo.stack.stack import UNSAFE_PROMPT
from demo.webui_client.visitor import Visitor
from tests.e2e.bystanders import Bystanders
from tests.e2e.chat_host import EVERY_HOST
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until


@pytest.fixture
def visitor(guarded: GuardedStack) -> Visitor:
    guarded.model.says(CALM)
    return Visitor(guarded.stack.user, guarded.models[0])


@pytest.mark.on(*EVERY_HOST)
def test_the_text_of_a_file_is_judged_before_the_model_reads_it(guarded: GuardedStack, visitor: Visitor) -> None:
    bystanders = Bystanders(guarded.stack, file_text=UNSAFE_PROMPT)
    with guarded.judging_first(), bystanders.running():
        seen = visitor.ask("What does the file say?", files=bystanders.request["files"])
    assert guarded.host.refusal(seen) == EN["prompt_refused"]
    assert not holds(guarded.model.requests, UNSAFE_PROMPT)


@pytest.mark.on(*EVERY_HOST)
def test_the_result_of_a_tool_is_judged_before_the_model_reads_it(guarded: GuardedStack, visitor: Visitor) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    guarded.model.deltas, guarded.model.finish = [{"tool_calls": [call]}], "tool_calls"
    bystanders = Bystanders(guarded.stack, tool_result=UNSAFE_PROMPT)
    with guarded.judging_first(), bystanders.running():
        seen = visitor.ask("Hello there, what time is it?", tool_ids=["clock"])
    assert bystanders.served == {"tool"}
    assert guarded.host.refusal(seen) == EN["prompt_refused"]
    assert holds(guarded.model.requests, "what time is it")
    assert not holds(guarded.model.requests, UNSAFE_PROMPT)


def test_without_the_pipelines_server_nothing_passes(guarded: GuardedStack, visitor: Visitor) -> None:
    guarded.stack.stop_child("pipelines")
    try:
        seen = visitor.ask(guarded.prompt)
    finally:
        guarded.stack.start_child("pipelines")
    assert (seen.text, holds(guarded.model.requests, guarded.prompt)) == ("", False)
    assert "Connection" in seen.error
    wait_until(lambda: guarded.stack.admin.get("/api/models", refresh=True)["data"])
    assert visitor.ask(guarded.prompt).text.strip() == CALM.strip()
