import json
from typing import Any

import pytest

from moderation.review import Message
from webui.bodies import emptied, messages_of, neutral_answer
from webui.messages import reading, replace, role_of
from webui.task_prompt import quoted_by_task


@pytest.mark.parametrize(
    ("message", "texts"),
    [
        ({"content": "a"}, ("a",)),
        ({"content": None}, ("",)),
        ({}, ("",)),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, "b"]}, ("a\nb",)),
        ({"content": "a", "reasoning_content": "r"}, ("a", "r")),
        ({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": "t"}'}}]}, ("", '{"x": "t"}')),
        (
            {"content": "a", "output": [{"type": "reasoning", "content": [{"type": "output_text", "text": "r"}]}]},
            ("a", "r"),
        ),
        ({"content": "a", "output": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]}, ("a",)),
        ({"content": "a", "output": [{"type": "function_call", "arguments": "args"}]}, ("a", "args")),
        (
            {
                "content": "",
                "output": [{"type": "function_call_output", "output": [{"type": "input_text", "text": "o"}]}],
            },
            ("", "o"),
        ),
        ({"content": "a", "output": [{"type": "new_thing", "content": {"deep": "d"}}]}, ("a", '{"deep": "d"}')),
        ({"content": {"odd": "shape"}}, ('{"odd": "shape"}',)),
    ],
)
def test_all_text_of_a_message_is_found(message: dict[str, Any], texts: tuple[str, ...]) -> None:
    assert reading(message).as_said_by("assistant") == Message("assistant", texts[0], texts[1:])


def test_roles_are_those_of_qwen3guard() -> None:
    roles = [role_of({"role": role}) for role in ("user", "assistant", "tool", "system", "developer", "alien", None)]
    assert roles == ["user", "assistant", "user", None, None, "user", "user"]


def test_a_replaced_answer_holds_the_notice_and_nothing_else() -> None:
    message = {
        "id": "m",
        "role": "assistant",
        "content": "bad",
        "reasoning_content": "bad",
        "sources": [{"document": ["bad"]}],
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "bad"}}],
        "output": [
            {"type": "reasoning", "content": [{"type": "output_text", "text": "bad"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "bad"}]},
        ],
    }
    replace(message, "NOTICE")
    assert "bad" not in json.dumps(message)
    assert reading(message).as_said_by("assistant") == Message("assistant", "NOTICE")
    assert message["output"][0]["content"] == [{"type": "output_text", "text": "NOTICE"}]  # type: ignore[index]


def test_a_refused_request_keeps_no_text_of_the_user() -> None:
    body = {
        "model": "m",
        "stream": True,
        "chat_id": "c",
        "messages": [{"role": "system", "content": "bad"}, {"role": "user", "content": "bad"}],
        "features": {"image_generation": "bad"},
        "files": ["bad"],
        "tool_ids": ["bad"],
        "tools": ["bad"],
        "anything_new": "bad",
    }
    request = emptied(body, "refusal", "say no")
    assert "bad" not in json.dumps(request)
    assert (request["model"], request["stream"], request["chat_id"]) == ("refusal", True, "c")


@pytest.mark.parametrize("messages", [None, "text", {"a": 1}, [None, 3, "x"]])
def test_messages_of_an_unknown_shape_are_removed(messages: Any) -> None:
    body = {"messages": messages}
    assert messages_of(body) == [] == body["messages"]


@pytest.mark.parametrize(
    ("task_body", "quoted"),
    [
        ({"messages": [{"role": "user", "content": "a"}, "x"]}, [("user", "a")]),
        ({"prompt": "p", "responses": ["r", "s"]}, [("user", "p"), ("assistant", "r"), ("assistant", "s")]),
        ({"prompt": 3, "responses": "odd", "messages": {}}, [("user", 3)]),
        (
            {"prompt": "p", "type": "a search query for bread", "model": "m"},
            [("user", "p"), ("user", "a search query for bread")],
        ),
        ({"messages": [{"role": "user", "content": "a", "sources": ["x"]}]}, [("user", "a")]),
        ("odd", []),
    ],
)
def test_the_turns_that_a_task_quotes_are_found(task_body: Any, quoted: list[tuple[str, Any]]) -> None:
    body = {"metadata": {"task": "title_generation", "task_body": task_body}}
    found = [(message["role"], message["content"]) for message in quoted_by_task(body) if message["content"]]
    assert found == quoted
    assert quoted_by_task({"metadata": {"task_body": task_body}}) == []


def test_task_answers_keep_their_json_and_a_title_is_never_empty() -> None:
    for task in ("title", "tags", "follow_up", "query", "image_prompt", "autocomplete"):
        assert isinstance(json.loads(neutral_answer(f"{task}_generation", "NOTICE")), dict)
    assert json.loads(neutral_answer("title_generation", "NOTICE"))["title"]
    assert neutral_answer("moa_response_generation", "NOTICE") == "NOTICE"


def test_a_refused_emoji_task_is_answered_by_an_emoji() -> None:
    assert neutral_answer("emoji_generation", "a notice") == "💬"
