"""Programs that ask Open WebUI's API, past the page: what they get through the Functions."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.api_client import ApiClient
from tests.e2e.chat_host import CHAT_MODELS, FUNCTIONS
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.program import Program
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN, UNSAFE, UNSAFE_WORDS
from tests.stands.chats import BOMB, CALM, user

DIRECT = CHAT_MODELS[0]
REFUSED, WITHHELD = EN["prompt_refused"], EN["answer_withheld"]
Body = dict[str, Any]


def leaks(body: object) -> bool:
    """Whether a word of the unsafe answer is in it."""
    return any(holds(body, word) for word in UNSAFE_WORDS)


@pytest.fixture
def program(guarded: GuardedStack) -> Program:
    return Program(guarded.stack, guarded.models[0])


@pytest.mark.on(*FUNCTIONS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
def test_a_program_gets_nothing_of_an_unsafe_answer(guarded: GuardedStack, program: Program, stream: bool) -> None:
    guarded.model.says(CALM)
    with program.client:
        safe = program.ask(user(guarded.prompt), stream=stream)
        guarded.model.says(CALM + UNSAFE + CALM)
        guarded.model.delay = 0.02
        unsafe = program.ask(user(f"{guarded.prompt} Again."), stream=stream)
    assert (safe["content"].strip(), safe["finish_reason"]) == (CALM.strip(), "stop")
    assert not leaks(unsafe)
    assert (unsafe["content"].endswith(WITHHELD), unsafe["finish_reason"]) == (True, "content_filter")


@pytest.mark.on(*FUNCTIONS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
def test_a_programs_unsafe_prompt_is_refused(guarded: GuardedStack, program: Program, stream: bool) -> None:
    with program.client:
        if guarded.host.guards_models:
            answer = program.ask(user(BOMB), stream=stream)
            assert (answer["content"], answer["finish_reason"]) == (REFUSED, "content_filter")
        else:
            with pytest.raises(openai.BadRequestError) as caught:
                program.ask(user(f"{guarded.prompt} {BOMB}"), stream=stream)
            assert caught.value.body == {"detail": REFUSED}
            assert guarded.asked == []


@pytest.mark.on("functions-filter")
def test_an_answer_that_is_not_streamed_may_be_refused_instead(guarded: GuardedStack, program: Program) -> None:
    guarded.model.says(CALM)
    with program.client, guarded.valves(unstreamed="refuse"):
        with pytest.raises(openai.BadRequestError) as caught:
            program.ask(user(guarded.prompt), stream=False)
        assert program.ask(user(guarded.prompt), stream=True)["content"].strip() == CALM.strip()
    assert "stream" in str(caught.value.body)
    assert [body["stream"] for body in guarded.asked] == [True]


def message(model: str, prompt: str, *, stream: bool = False) -> Body:
    """A request of Anthropic's API."""
    return {"model": model, "max_tokens": 500, "stream": stream, "messages": [user(prompt)]}


def read(answer: httpx.Response) -> tuple[int, str, str | None]:
    """What a client of that API gets: the status, the text or the error, and why the answer ended."""
    if not answer.is_success:
        return answer.status_code, answer.json()["detail"], None
    if "event-stream" not in answer.headers["content-type"]:
        whole = answer.json()
        return 200, "".join(block.get("text", "") for block in whole["content"]), whole["stop_reason"]
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    (reason,) = [event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta"]
    return 200, text, reason


@pytest.mark.on(*FUNCTIONS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
def test_clients_of_anthropics_api_get_nothing_unsafe_and_read_why(guarded: GuardedStack, stream: bool) -> None:
    http = guarded.stack.user.http

    def ask(prompt: str) -> tuple[int, str, str | None]:
        return read(http.post("/api/v1/messages", json=message(guarded.models[0], prompt, stream=stream)))

    guarded.model.says(CALM)
    assert ask(guarded.prompt) == (200, CALM, "end_turn")
    told = (200, REFUSED, "end_turn") if guarded.host.guards_models else (400, REFUSED, None)
    assert ask(BOMB) == told
    # A guard of its own, which has not failed before.
    with guarded.judging_first(timeout_seconds=7 + stream):
        guarded.guard.status = 500
        assert ask(f"{guarded.prompt} Again.") == (told[0], EN["not_checked"], told[2])
        guarded.guard.status = 200
    guarded.model.says(CALM + UNSAFE + CALM)
    guarded.model.delay = 0.02
    status, text, reason = ask(f"{guarded.prompt} And again.")
    assert (status, reason, leaks(text), text.endswith(WITHHELD)) == (200, "end_turn", False, True)
    if not stream:
        # Open WebUI makes an empty answer of every error of a Function.
        guarded.model.reply = {"error": {"message": "no luck"}}
        assert ask(f"{guarded.prompt} Are you there?") == (200, "The model server failed: no luck", "end_turn")


@pytest.mark.on(*FUNCTIONS)
def test_json_arrives_as_the_model_wrote_it(guarded: GuardedStack, program: Program) -> None:
    text = '{"place": "the sea", "steps": [1, 2.5, null], "mood": {"calm": true, "note": "so \\"blue\\"\\n"}}'
    guarded.model.says(text)
    wanted = {"type": "json_object"}
    with program.client:
        answer = program.ask(user(f"{guarded.prompt} As JSON, please."), stream=True, response_format=wanted)
    assert (answer["content"], answer["finish_reason"]) == (text, "stop")
    assert [body["response_format"] for body in guarded.asked] == [wanted]


@pytest.mark.on(*FUNCTIONS)
def test_a_safe_tool_call_passes_and_an_unsafe_one_is_withheld(guarded: GuardedStack, program: Program) -> None:
    tools = [{"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {}}}}]
    with program.client:
        answers = []
        for text in (CALM, UNSAFE):
            guarded.model.deltas, guarded.model.finish = calling(text), "tool_calls"
            answers.append(program.ask(user(f"Write of {guarded.prompt} {text[:4]}"), stream=True, tools=tools))
    safe, unsafe = answers
    arguments = "".join(call["function"].get("arguments", "") for call in safe["tool_calls"])
    assert (json.loads(arguments), safe["finish_reason"]) == ({"text": CALM}, "tool_calls")
    assert not leaks(unsafe)
    assert (unsafe["tool_calls"], unsafe["content"], unsafe["finish_reason"]) == ([], WITHHELD, "content_filter")


def calling(text: str) -> list[Body]:
    """A tool call in pieces, as models stream it."""
    arguments = json.dumps({"text": text})
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "write", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": arguments[at : at + 5]}} for at in range(0, len(arguments), 5)]
    return [{"tool_calls": [call]} for call in (first, *rest)]


@pytest.mark.on(*FUNCTIONS)
def test_nobody_gets_another_ones_text(guarded: GuardedStack) -> None:
    guarded.model.echoes, guarded.model.delay, guarded.guard.delay = True, 0.01, 0.02
    clients = [ApiClient(guarded.stack.user, model) for model in guarded.models]
    marks = [f"mark{number:02d}" for number in range(64)]

    def ask(number: int) -> str:
        return clients[number % len(clients)].ask(f"Tell me of {marks[number]}.", stream=True)

    with ThreadPoolExecutor(len(marks)) as threads:
        answers = list(threads.map(ask, range(len(marks))))
    found = [(re.findall(r"mark\d\d", answer), re.findall(r"demo-chat\S*", answer)) for answer in answers]
    models = ("demo-chat", "demo-chat-2")
    assert found == [([mark], [models[number % len(models)]]) for number, mark in enumerate(marks)]


@pytest.mark.on(*FUNCTIONS)
def test_a_whole_answer_in_place_of_a_stream_reaches_no_program_unjudged(guarded: GuardedStack) -> None:
    message = {"role": "assistant", "content": CALM + UNSAFE}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    guarded.model.reply = {"id": "1", "object": "chat.completion", "choices": choices}
    body = {"model": guarded.models[0], "stream": True, "messages": [user(guarded.prompt)]}
    answer = guarded.stack.user.http.post("/api/chat/completions", json=body)
    assert not leaks(answer.text)
    assert answer.status_code == (200 if guarded.host.guards_models else 500)
    assert (WITHHELD in answer.text) == guarded.host.guards_models


@pytest.mark.on("functions-filter")
def test_gap_a_whole_answer_of_tool_calls_in_place_of_a_stream_reaches_a_program(guarded: GuardedStack) -> None:
    """Open WebUI calls an outlet for an answer with words only. With the guarded models in between, nothing passes."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "write", "arguments": json.dumps({"text": UNSAFE})},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    guarded.model.reply = {"id": "1", "object": "chat.completion", "choices": choices}
    body = {"model": guarded.models[0], "stream": True, "messages": [user(guarded.prompt)]}
    assert leaks(guarded.stack.user.http.post("/api/chat/completions", json=body).text)
    with guarded.valves(answers="models"):
        assert not leaks(guarded.stack.user.http.post("/api/chat/completions", json=body).text)


@pytest.mark.on("functions-filter")
def test_gap_a_program_loses_the_last_words_of_an_answer_without_a_finish_reason(guarded: GuardedStack) -> None:
    """Nobody calls a filter after the last event. With the guarded models in between, nothing is lost."""
    guarded.model.says(CALM)
    guarded.model.finish = None
    client = ApiClient(guarded.stack.user, guarded.models[0])
    heard = client.ask(guarded.prompt, stream=True)
    assert (CALM.startswith(heard), 0 < len(heard) < len(CALM)) == (True, True)
    with guarded.valves(answers="models"):
        assert client.ask(guarded.prompt, stream=True) == CALM


@pytest.mark.on("functions-filter")
def test_gap_the_pass_through_route_reaches_the_model_past_the_function_filter(guarded: GuardedStack) -> None:
    guarded.model.says(CALM + UNSAFE + CALM)
    client = ApiClient(guarded.stack.user, guarded.models[0])
    assert leaks(client.ask(BOMB, stream=False, path="/openai/chat/completions"))
    assert holds(guarded.model.requests, BOMB)


@pytest.mark.on(*FUNCTIONS)
def test_gap_anthropics_route_passes_by_the_function_filter_if_the_connection_speaks_anthropics_api(
    guarded: GuardedStack,
) -> None:
    """Open WebUI hands the request on as it is. A guarded model has no such connection."""
    guarded.model.says(CALM + UNSAFE)
    admin, http = guarded.stack.admin, guarded.stack.user.http
    before = admin.get("/openai/config")
    configs = before["OPENAI_API_CONFIGS"] | {"0": {"enable": True, "provider": "litellm"}}
    admin.post("/openai/config/update", before | {"OPENAI_API_CONFIGS": configs})
    try:
        direct, chosen = (
            http.post("/api/v1/messages", json=message(model, BOMB)) for model in (DIRECT, guarded.models[0])
        )
    finally:
        admin.post("/openai/config/update", before)
    assert (direct.is_success, leaks(direct.text)) == (not guarded.host.guards_models,) * 2
    if guarded.host.guards_models:
        assert REFUSED in chosen.text


@pytest.mark.on(*FUNCTIONS)
def test_gap_a_model_server_counts_the_tokens_of_a_prompt_of_anthropics_api_before_a_filter_sees_it(
    guarded: GuardedStack,
) -> None:
    """A guarded model is no model of that server."""
    guarded.stack.user.http.post("/api/v1/messages", json=message(guarded.models[0], BOMB))
    assert holds(guarded.model.counted, BOMB) == (not guarded.host.guards_models)


@pytest.mark.on(*FUNCTIONS)
def test_gap_the_responses_route_hands_every_model_to_the_first_connection(guarded: GuardedStack) -> None:
    """Open WebUI does not look whether that connection has the model. Some servers do not look either, and answer."""
    guarded.model.says(CALM + UNSAFE)
    guarded.model.answers_for_any_model = True
    body = {"model": guarded.models[0], "input": BOMB}
    assert leaks(guarded.stack.user.http.post("/openai/responses", json=body).raise_for_status().text)
    assert holds(guarded.model.requests, BOMB)
