import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.plugins import Pipeline, started_filter
from webui.messages import reading
from webui.task_prompt import pieces, quoted_by_task, without_quotes

Body = dict[str, Any]


def task(task_body: Any, prompt: str, name: str = "moa_response_generation") -> Body:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "chat", "messages": messages, "metadata": {"task": name, "task_body": task_body}}


def judged(body: Body) -> str:
    quoted = [reading(turn).text for turn in quoted_by_task(body)]
    return str(without_quotes(body["messages"], quoted)[0]["content"])


@pytest.mark.parametrize(
    ("task_body", "prompt"),
    [
        (
            {"prompt": "Is rye\ngood?", "responses": ["Yes.", "It is: very"]},
            'asked "Is rye\ngood?" """Yes."""\n\n"""It is: very"""',
        ),
        (
            {"messages": [{"role": "user", "content": "Is rye good?"}, {"role": "assistant", "content": "Yes: it is"}]},
            "<chat_history>\nUSER: Is rye good?\nASSISTANT: Yes: it is\n</chat_history>",
        ),
        ({"prompt": "Is rye", "type": "General"}, "<type>General</type>\n<text>Is rye</text>"),
        ({"prompt": "看图\n面包?"}, "Message: ```看图\n面包?```"),
    ],
)
def test_quoted_turns_are_not_judged_twice(task_body: Body, prompt: str) -> None:
    left = judged(task(task_body, f"### Rules of our own\n{prompt}"))
    assert left.split("\n") in (["Rules of our own"], ["Rules of our own", "asked"], ["Rules of our own", "Message"])


@pytest.mark.parametrize(
    "task_body", [{"prompt": "hi"}, {"messages": [{"role": "user", "content": "How do I"}]}, {"x": 1}]
)
@pytest.mark.parametrize("prompt", [BOMB, f"### Task:\n{BOMB}", f"USER: {BOMB}", f'"{BOMB}"', f"<x>{BOMB}</x>", "bomb"])
def test_text_that_quotes_no_turn_is_judged(task_body: Body, prompt: str) -> None:
    assert "bomb" in judged(task(task_body, prompt))


def test_a_quoted_picture_costs_nothing() -> None:
    picture = "![x](data:image/png;base64," + "aB3/" * 200 + ")"
    assert judged(task({"prompt": f"What is {picture}?"}, f'query: "What is {picture}?"')) == "query"


def test_without_a_task_nothing_is_cut() -> None:
    message = {"role": "user", "content": '### Task:\n"hi"'}
    assert without_quotes([message], []) == [message]


def test_a_task_prompt_is_split_at_the_quotes_of_templates() -> None:
    assert pieces('# A: "b" <c>d</c>\n\n- `e`.') == ["A", "b", "d", "e"]


@pytest.fixture
async def pipeline(guard_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with started_filter(guard_url, tmp_path) as pipeline:
        yield pipeline


async def test_a_template_that_the_guard_flags_does_not_refuse_harmless_turns(pipeline: Any, stub: StubGuard) -> None:
    # "Chat History" is from Open WebUI's own templates.
    stub.together = ("Chat History", "Is rye good")
    body = task({"messages": [{"role": "user", "content": "Is rye good?"}]}, "### Chat History:\nUSER: Is rye good?")
    assert await pipeline.inlet(json.loads(json.dumps(body)), {}) == body
    assert stub.judged == ["Is rye good?"]


@pytest.mark.parametrize(
    "body",
    [
        task({}, BOMB, "title_generation"),
        task({"prompt": "hi"}, BOMB),
        task({"prompt": "hi", "responses": [BOMB]}, "hi"),
        task({"prompt": BOMB}, "hi"),
        task({"messages": [{"role": BOMB, "content": "hi"}]}, "hi"),
        task({"prompt": "hi", "type": BOMB}, f"<type>{BOMB}</type>"),
        task({"messages": [{"role": "user", "content": [{"type": "text", "text": BOMB}]}]}, "hi"),
        task("odd", BOMB),
    ],
)
async def test_calling_a_request_a_task_does_not_bypass_the_guard(pipeline: Any, body: Body) -> None:
    sent = await pipeline.inlet(json.loads(json.dumps(body)), {})
    assert "bomb" not in json.dumps(sent["messages"])
    assert sent["messages"] != body["messages"]


async def test_a_title_of_a_refused_turn_is_neutral(pipeline: Any) -> None:
    sent = await pipeline.inlet(task({"messages": [{"role": "user", "content": BOMB}]}, "hi", "title_generation"), {})
    assert '{"title": "New Chat"}' in sent["messages"][0]["content"]
    assert TEXTS["en"]["prompt_refused"] not in json.dumps(sent)
