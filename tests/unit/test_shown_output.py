"""What the page shows of a stored answer: each item of `output` is judged, and a harmless one stays unchanged."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.plugins import Pipeline, started_filter

Body = dict[str, Any]
WITHHELD = {texts["answer_withheld"] for texts in TEXTS.values()}
HTML = "<html><body><p>{}</p></body></html>"


def said(text: str, **more: Any) -> Body:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, **more}]}


# As Open WebUI 0.12.4 and the Responses API write them; {} marks the place of the text.
ITEMS: dict[str, Body] = {
    "message": said("{}"),
    "a refusal": {"type": "message", "content": [{"type": "refusal", "refusal": "{}"}]},
    "a citation's title": said(
        "Hi.", annotations=[{"type": "url_citation", "title": "{}", "url": "https://a.example"}]
    ),
    "a cited passage": said("Hi.", annotations=[{"type": "file_citation", "quote": "{}", "filename": "a.txt"}]),
    "a message's name": {"type": "message", "name": "{}", "content": []},
    "reasoning": {"type": "reasoning", "content": [{"type": "output_text", "text": "{}"}], "summary": None},
    "reasoning's summary": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "{}"}]},
    "reasoning's details": {"type": "reasoning", "reasoning_details": [{"type": "reasoning.text", "text": "{}"}]},
    "a call's arguments": {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"q": "{}"}'},
    "a call's name": {"type": "function_call", "call_id": "c", "name": "{}", "arguments": "{}"},
    "a call's result": {"type": "function_call_output", "output": [{"type": "input_text", "text": "{}"}]},
    "a call's result as text": {"type": "function_call_output", "output": "{}"},
    "a call's files": {"type": "function_call_output", "output": [], "files": [{"type": "file", "name": "{}"}]},
    "a call's embeds": {"type": "function_call_output", "output": [], "embeds": [HTML]},
    "a custom call": {"type": "custom_tool_call", "name": "f", "input": "{}"},
    "a custom call's name": {"type": "custom_tool_call", "name": "{}", "input": "x"},
    "a custom call's result": {"type": "custom_tool_call_output", "output": "{}"},
    "an MCP call's arguments": {"type": "mcp_call", "name": "f", "server_label": "s", "arguments": '{"q": "{}"}'},
    "an MCP call's result": {"type": "mcp_call", "name": "f", "arguments": "{}", "output": "{}"},
    "an MCP call's error": {"type": "mcp_call", "name": "f", "error": {"message": "{}"}},
    "an MCP server's tools": {"type": "mcp_list_tools", "tools": [{"name": "f", "description": "{}"}]},
    "code": {"type": "open_webui:code_interpreter", "code": "print('{}')", "lang": "python", "output": None},
    "code's output": {"type": "open_webui:code_interpreter", "code": "x", "output": {"stdout": "{}", "stderr": ""}},
    "code's errors": {"type": "open_webui:code_interpreter", "code": "x", "output": {"stderr": "{}"}},
    "code's result": {"type": "open_webui:code_interpreter", "code": "x", "output": {"result": "{}"}},
    "code's output as text": {"type": "open_webui:code_interpreter", "code": "x", "output": "{}"},
    "the Responses API's code": {"type": "code_interpreter_call", "code": "{}", "outputs": []},
    "the Responses API's logs": {"type": "code_interpreter_call", "outputs": [{"type": "logs", "logs": "the {}"}]},
    "a picture's prompt": {
        "type": "image_generation_call",
        "result": "iVBORw0KGgo" + "aB3/" * 99,
        "revised_prompt": "{}",
    },
    "a search": {"type": "web_search_call", "action": {"type": "search", "query": "{}"}},
    "a file search": {"type": "file_search_call", "queries": ["the {}"], "results": [{"text": "{}"}]},
    "a shell call": {"type": "local_shell_call", "action": {"command": ["echo", "the {}"]}},
    "a computer's typing": {"type": "computer_call", "action": {"type": "type", "text": "{}"}},
    "an item of an unknown type": {"type": "new_thing", "content": {"deep": ["{}"]}},
    "keys of an item": {"type": "new_thing", "the {}": 1},
}


def filled(item: Body, words: str) -> Body:
    filled_in: Body = json.loads(json.dumps(item).replace("{}", words))
    return filled_in


def chat(*items: Body) -> Body:
    answer = {"id": "m2", "role": "assistant", "content": "Hi.", "output": [said("Hi."), *items]}
    return {"model": "chat", "id": "m2", "messages": [{"id": "m1", "role": "user", "content": "hi"}, answer]}


@pytest.fixture
async def pipeline(guard_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with started_filter(guard_url, tmp_path) as pipeline:
        yield pipeline


async def test_every_item_that_the_page_shows_is_judged(pipeline: Any) -> None:
    stays = []
    for place, item in ITEMS.items():
        left = await pipeline.outlet(chat(filled(item, "a bomb")), {})
        if "bomb" in json.dumps(left) or left["messages"][-1]["content"] not in WITHHELD:
            stays.append(place)
    assert stays == []


async def test_harmless_items_stay_unchanged(pipeline: Any) -> None:
    for item in ITEMS.values():
        body = chat(filled(item, "a boat"))
        assert await pipeline.outlet(json.loads(json.dumps(body)), {}) == body


async def test_text_shown_twice_is_judged_once_and_pictures_never(pipeline: Any, stub: StubGuard) -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "aB3/" * 1000}
    result = {"type": "function_call_output", "output": [{"type": "input_text", "text": "It is warm."}, picture]}
    await pipeline.outlet(chat(result), {})
    assert sorted(stub.judged) == ["Hi.", "It is warm.", "hi"]


async def test_sources_are_not_judged_but_removed_with_a_refused_answer(pipeline: Any) -> None:
    body = chat()
    body["messages"][1]["sources"] = [{"document": ["How is a bomb disarmed?"]}]
    assert await pipeline.outlet(json.loads(json.dumps(body)), {}) == body
    body["messages"][1]["output"].append(said("the bomb"))
    assert (await pipeline.outlet(body, {}))["messages"][1]["sources"] == []
