"""The scripted chat model, over HTTP with the `openai` SDK."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from demo.chat_model.completion import tokens
from demo.chat_model.script import Script
from demo.chat_model.server import MODEL, SCRIPT, ChatModel, RequestLog
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

WRITE_NOTE = {"type": "function", "function": {"name": "write_note", "parameters": {"type": "object"}}}


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


@pytest.fixture
def url(requests_file: Path) -> Iterator[str]:
    with serve(ChatModel(Script.load(SCRIPT), RequestLog(requests_file), [MODEL], delay=0).app()) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="EMPTY", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, prompt: str, **more: Any) -> openai.types.chat.ChatCompletionMessage:
    messages: Any = [{"role": "user", "content": prompt}]
    completion: openai.types.chat.ChatCompletion = client.chat.completions.create(
        model=MODEL, messages=messages, **more
    )
    return completion.choices[0].message


def test_its_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("What is the capital of France?", "Paris"),
        ("法国的首都是哪里？", "巴黎"),
        ("你好", "谢谢"),
        ("Good morning", "nice to talk"),
        ("Please write a short story about a locksmith.", "pick the lock"),
        ("给我讲一个锁匠的故事", "偷钱"),
        ("Reply with exactly the following text and nothing else:\n\nIt is raining.", "It is raining."),
    ],
)
def test_the_first_matching_row_answers(client: openai.OpenAI, prompt: str, part: str) -> None:
    assert part in (ask(client, prompt).content or "")


def test_a_text_to_be_repeated_is_returned_exactly(client: openai.OpenAI) -> None:
    text = "One line: with a colon.\n\nAnd a second \\ line."
    assert ask(client, f"Reply with exactly the following text and nothing else:\n\n{text}").content == text


@pytest.mark.parametrize("key", ["title", "tags", "follow_ups"])
def test_a_task_prompt_gets_the_json_that_it_asks_for(client: openai.OpenAI, key: str) -> None:
    prompt = (
        f'### Task:\nJSON format: {{ "{key}": … }}\n### Chat History:\nPlease write a short story about a locksmith.'
    )
    assert key in json.loads(ask(client, prompt).content or "")


def test_the_streamed_answer_is_the_unstreamed_one_in_pieces(client: openai.OpenAI) -> None:
    prompt: Any = [{"role": "user", "content": "Please write a short riddle about a locksmith."}]
    whole = client.chat.completions.create(model=MODEL, messages=prompt)
    stream = client.chat.completions.create(
        model=MODEL, messages=prompt, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks if chunk.choices]
    for field in ("content", "reasoning_content"):
        pieces = [delta.get(field) or "" for delta in deltas]
        assert "".join(pieces) == whole.choices[0].message.model_dump()[field]
        assert len([piece for piece in pieces if piece]) > 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage


def test_reasoning_can_be_unsafe_with_a_safe_answer(client: openai.OpenAI) -> None:
    message = ask(client, "Please write a short riddle about a locksmith.").model_dump()
    assert "steal" in message["reasoning_content"]
    assert "steal" not in message["content"]


def test_a_tool_is_called_once_and_only_if_it_is_offered(client: openai.OpenAI) -> None:
    prompt = "Write a note about the locksmith."
    assert ask(client, prompt).content == "The note is written."
    message = ask(client, prompt, tools=[WRITE_NOTE])
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert "steal" in json.loads(call.function.arguments)["text"]
    messages: Any = [{"role": "user", "content": prompt}, message, {"role": "tool", "tool_call_id": call.id}]
    after = client.chat.completions.create(model=MODEL, messages=messages, tools=[WRITE_NOTE])  # type: ignore[list-item]
    assert after.choices[0].message.content == "The note is written."


def test_it_logs_requests_until_the_log_is_cleared(client: openai.OpenAI, url: str, requests_file: Path) -> None:
    ask(client, "Good morning", temperature=0.5)
    (entry,) = httpx.get(f"{url}/log", timeout=PATIENCE).json()
    assert entry["body"]["messages"] == [{"role": "user", "content": "Good morning"}]
    assert entry["body"]["temperature"] == 0.5
    assert json.loads(requests_file.read_text()) == entry
    httpx.delete(f"{url}/log").raise_for_status()
    assert httpx.get(f"{url}/log", timeout=PATIENCE).json() == []


def test_an_unknown_model_is_an_error_that_names_the_known_ones(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=MODEL):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "hello"}])


@pytest.mark.parametrize("text", ["", " two  spaces ", "锁匠 and his，friend。\n\n\tEnd", "naïve 😀 ok"])
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text
