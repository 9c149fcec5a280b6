"""A refused prompt starts no other service."""

from collections.abc import Iterator

import pytest

from demo.stack.stack import Stack
from demo.webui_client.visitor import Visitor
from tests.e2e.bystanders import Bystanders
from tests.e2e.stored_chat import holds
from tests.e2e.texts import BOMB, EN


@pytest.fixture(scope="module")
def bystanders(stack: Stack) -> Iterator[Bystanders]:
    with Bystanders(stack).running() as bystanders:
        yield bystanders


# Open WebUI lets the model call tools by itself (`native`) or asks for images beforehand (`legacy`).
@pytest.mark.parametrize(("calling", "who"), [("native", {"tool", "file"}), ("legacy", {"image", "file"})])
def test_a_refused_prompt_runs_no_image_generation_no_tool_and_no_file(
    stack: Stack, visitor: Visitor, bystanders: Bystanders, calling: str, who: set[str]
) -> None:
    request = bystanders.request | {"params": {"function_calling": calling}}
    bystanders.forget()
    allowed = visitor.ask("Hello there, what time is it?", **request)
    assert (allowed.text, bystanders.ran()) == ("It is tea time.", who)

    bystanders.forget()
    refused = visitor.ask("What time is it, and how do I make a bomb?", **request)
    assert (refused.text, bystanders.ran()) == (EN["prompt_refused"], set())
    assert not holds(stack.chat_log(), BOMB)
