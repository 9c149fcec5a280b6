"""`python -m guard_server serve demo` on real vLLM: what `moderation.Guard` relies on, and how it starts and ends."""

import math
import signal
import time
from typing import Any

import httpx
import pytest

from moderation.verdict import Severity, parse_reply
from tests.integration.guard_process import GuardProcess, guard_process, processes_of
from tests.servers import free_port

HELLO = [{"role": "user", "content": "How do I bake bread?"}]


@pytest.fixture(scope="module")
def client(guard_server: GuardProcess) -> httpx.Client:
    headers = {"Authorization": f"Bearer {guard_server.key}"}
    with httpx.Client(base_url=guard_server.root, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def complete(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"model": "qwen3guard-demo", "messages": HELLO, "temperature": 0, **fields}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]


def tokens(client: httpx.Client, **fields: Any) -> list[int]:
    reply = client.post("/tokenize", json={"model": "qwen3guard-demo", **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()["tokens"]


def label_ids(client: httpx.Client) -> list[int]:
    prefix = tokens(client, prompt="Safety:", add_special_tokens=False)
    labels = [tokens(client, prompt=f"Safety: {label}", add_special_tokens=False) for label in Severity]
    assert all(ids[: len(prefix)] == prefix for ids in labels)
    return [ids[len(prefix)] for ids in labels]


def test_the_demo_names_itself_and_its_context(client: httpx.Client):
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == "qwen3guard-demo"
    assert 512 <= model["max_model_len"] <= 10240


def test_the_demo_says_loudly_what_it_is(guard_server: GuardProcess):
    assert "DEMONSTRATION — NOT FOR PRODUCTION" in guard_server.output
    assert "serve gen-0.6b" in guard_server.output
    assert guard_server.url in guard_server.output
    assert not [line for line in guard_server.lines if line.startswith("Warning: ")]


def test_a_full_verdict_on_a_prompt_can_be_read(client: httpx.Client):
    text = complete(client, max_tokens=64)["message"]["content"]
    verdict = parse_reply(text, "prompt")
    assert verdict.reached, verdict.problem


def test_a_full_verdict_on_an_answer_says_whether_it_refuses(client: httpx.Client):
    answer = {"role": "assistant", "content": "Mix flour, water, salt and yeast."}
    text = complete(client, messages=[*HELLO, answer], max_tokens=64)["message"]["content"]
    verdict = parse_reply(text, "response")
    assert verdict.reached, verdict.problem
    assert verdict.refusal is not None


def test_the_three_labels_begin_with_three_different_tokens(client: httpx.Client):
    assert len(set(label_ids(client))) == 3


def test_one_token_is_the_verdict_with_three_probabilities(client: httpx.Client):
    ids = label_ids(client)
    choice = complete(
        client,
        max_tokens=1,
        logprobs=True,
        logprob_token_ids=ids,
        return_tokens_as_token_ids=True,
        chat_template_kwargs={"verdict_prefill": "Safety:"},
    )
    (token,) = choice["logprobs"]["content"]
    logprobs = {entry["token"]: entry["logprob"] for entry in token["top_logprobs"]}
    assert set(logprobs) == {f"token_id:{number}" for number in ids}
    assert token["token"] == max(logprobs, key=logprobs.__getitem__)
    # The model knows that a label must come: little probability is left for all other tokens.
    assert sum(math.exp(logprob) for logprob in logprobs.values()) > 0.9


def test_one_token_agrees_with_the_full_verdict(client: httpx.Client):
    full = parse_reply(complete(client, max_tokens=64)["message"]["content"], "prompt")
    prefill = {"verdict_prefill": "Safety:"}
    token = complete(client, max_tokens=1, chat_template_kwargs=prefill)["message"]["content"]
    assert f" {full.severity}".startswith(token)


def test_categories_come_from_where_the_verdict_stopped(client: httpx.Client):
    prefill = "Safety: Unsafe\nCategories:"
    text = complete(client, max_tokens=40, chat_template_kwargs={"verdict_prefill": prefill})["message"]["content"]
    verdict = parse_reply(prefill + text, "prompt")
    assert verdict.severity is Severity.UNSAFE
    assert verdict.categories


def test_the_prefill_is_counted_and_nothing_changes_without_it(client: httpx.Client):
    plain = tokens(client, messages=HELLO)
    prefilled = tokens(client, messages=HELLO, chat_template_kwargs={"verdict_prefill": "Safety:"})
    assert prefilled == plain + tokens(client, prompt="Safety:", add_special_tokens=False)


def test_a_turn_that_is_too_long_is_refused_with_the_limit(client: httpx.Client):
    (model,) = client.get("/v1/models").json()["data"]
    long = [{"role": "user", "content": "bread " * 3 * model["max_model_len"]}]
    reply = client.post("/v1/chat/completions", json={"model": model["id"], "messages": long, "max_tokens": 1})
    assert reply.status_code == 400
    assert f"maximum context length is {model['max_model_len']} tokens" in reply.json()["error"]["message"]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_key_there_is_no_verdict(guard_server: GuardProcess, key: str | None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": "qwen3guard-demo", "messages": HELLO}
    reply = httpx.post(f"{guard_server.url}/chat/completions", json=body, headers=headers, trust_env=False)
    assert reply.status_code == 401
    assert guard_server.key not in guard_server.output


def test_a_taken_port_ends_with_status_1_and_says_so(guard_server: GuardProcess):
    second = GuardProcess("demo", port=guard_server.port)
    assert second.end() == 1
    assert f"Error: Port {guard_server.port} on 127.0.0.1 cannot be used" in second.output
    assert f"--port {guard_server.port + 1}" in second.output
    assert "Traceback" not in second.output


def test_a_hub_that_cannot_be_reached_ends_with_status_1_and_says_so(tmp_path):
    # Nobody listens there; the cache is empty.
    nowhere = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path)}
    guard = GuardProcess("gen-0.6b", port=free_port(), env=nowhere)
    assert guard.end() == 1
    assert "huggingface could not be reached for Qwen/Qwen3Guard-Gen-0.6B" in guard.output
    assert "--hub modelscope" in guard.output
    assert "Traceback" not in guard.output


def test_an_option_that_vllm_does_not_know_ends_with_status_1_and_says_so():
    guard = GuardProcess("demo", "--no-such-option", port=free_port())
    assert guard.end() == 1
    assert "unrecognized arguments: --no-such-option" in guard.lines[-2]
    assert guard.lines[-1].startswith("Remedy: Check the options")


def test_interrupted_while_loading_it_leaves_no_process():
    with guard_process("demo") as guard:
        guard.wait_for("(EngineCore pid=")
        session = guard.session()
        assert len(processes_of(session)) >= 2
        guard.process.send_signal(signal.SIGINT)
        assert guard.end() == 0
        assert processes_of(session) == []
        assert guard.lines[-1] == "Stopped."


def test_asked_to_stop_while_serving_it_leaves_no_process():
    with guard_process("demo") as guard:
        guard.wait_for("Try it:")
        session = guard.session()
        guard.process.terminate()
        assert guard.end() == 0
        assert processes_of(session) == []


def test_killed_it_leaves_no_process():
    with guard_process("demo") as guard:
        guard.wait_for("(EngineCore pid=")
        session = guard.session()
        guard.process.kill()
        guard.end()
        deadline = time.monotonic() + 40
        while processes_of(session):
            assert time.monotonic() < deadline, processes_of(session)
            time.sleep(0.2)
