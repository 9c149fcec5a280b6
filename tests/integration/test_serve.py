"""`qwen3guard serve demo` on real vLLM: the behaviour that `moderation.Guard` relies on."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from moderation.verdict import Severity, parse_reply
from tests.stands.clients import NO_IDLE
from tests.stands.processes.guard_process import GuardProcess
from tests.stands.waiting import PATIENCE

HELLO = [{"role": "user", "content": "How do I bake bread?"}]


@pytest.fixture(scope="module")
def client(guard_server: GuardProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {guard_server.key}"}
    options: dict[str, Any] = {"timeout": PATIENCE, "trust_env": False, "limits": NO_IDLE}
    with httpx.Client(base_url=guard_server.root, headers=headers, **options) as client:
        yield client


def complete(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"model": "qwen3guard-demo", "messages": HELLO, "temperature": 0, **fields}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json()["choices"][0])


def tokens(client: httpx.Client, **fields: Any) -> list[int]:
    reply = client.post("/tokenize", json={"model": "qwen3guard-demo", **fields})
    assert reply.status_code == 200, reply.text
    return list(reply.json()["tokens"])


def label_ids(client: httpx.Client) -> list[int]:
    prefix = tokens(client, prompt="Safety:", add_special_tokens=False)
    labels = [tokens(client, prompt=f"Safety: {label}", add_special_tokens=False) for label in Severity]
    assert all(ids[: len(prefix)] == prefix for ids in labels)
    return [ids[len(prefix)] for ids in labels]


def test_the_demo_names_itself_and_its_context(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == "qwen3guard-demo"
    assert 512 <= model["max_model_len"] <= 10240


def test_the_demo_warns_that_it_is_a_demonstration(guard_server: GuardProcess) -> None:
    assert "DEMONSTRATION — NOT FOR PRODUCTION" in guard_server.output
    assert "serve gen-0.6b" in guard_server.output
    assert guard_server.url in guard_server.output
    assert not [line for line in guard_server.lines if line.startswith("Warning: ")]


def test_a_full_verdict_on_a_prompt_can_be_read(client: httpx.Client) -> None:
    text = complete(client, max_tokens=64)["message"]["content"]
    verdict = parse_reply(text, "prompt")
    assert verdict.reached, verdict.problem


def test_a_full_verdict_on_an_answer_says_whether_it_refuses(client: httpx.Client) -> None:
    answer = {"role": "assistant", "content": "Mix flour, water, salt and yeast."}
    text = complete(client, messages=[*HELLO, answer], max_tokens=64)["message"]["content"]
    verdict = parse_reply(text, "response")
    assert verdict.reached, verdict.problem
    assert verdict.refusal is not None


def test_the_three_labels_begin_with_three_different_tokens(client: httpx.Client) -> None:
    assert len(set(label_ids(client))) == 3


def test_one_token_is_the_verdict_with_three_probabilities(client: httpx.Client) -> None:
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
    # The model has learnt that a label follows: all other tokens together have little probability.
    assert sum(math.exp(logprob) for logprob in logprobs.values()) > 0.9


def test_one_token_agrees_with_the_full_verdict(client: httpx.Client) -> None:
    full = parse_reply(complete(client, max_tokens=64)["message"]["content"], "prompt")
    prefill = {"verdict_prefill": "Safety:"}
    token = complete(client, max_tokens=1, chat_template_kwargs=prefill)["message"]["content"]
    assert f" {full.severity}".startswith(token)


def test_categories_continue_the_one_token_verdict(client: httpx.Client) -> None:
    prefill = "Safety: Unsafe\nCategories:"
    text = complete(client, max_tokens=40, chat_template_kwargs={"verdict_prefill": prefill})["message"]["content"]
    verdict = parse_reply(prefill + text, "prompt")
    assert verdict.severity is Severity.UNSAFE
    assert verdict.categories


def test_a_prefill_is_counted_and_without_one_nothing_changes(client: httpx.Client) -> None:
    plain = tokens(client, messages=HELLO)
    prefilled = tokens(client, messages=HELLO, chat_template_kwargs={"verdict_prefill": "Safety:"})
    assert prefilled == plain + tokens(client, prompt="Safety:", add_special_tokens=False)


def test_a_turn_that_is_too_long_is_refused_with_the_limit(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    long = [{"role": "user", "content": "bread " * 3 * model["max_model_len"]}]
    reply = client.post("/v1/chat/completions", json={"model": model["id"], "messages": long, "max_tokens": 1})
    assert reply.status_code == 400
    assert f"maximum context length is {model['max_model_len']} tokens" in reply.json()["error"]["message"]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_key_there_is_no_verdict(guard_server: GuardProcess, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": "qwen3guard-demo", "messages": HELLO}
    reply = httpx.post(
        f"{guard_server.url}/chat/completions", json=body, headers=headers, timeout=PATIENCE, trust_env=False
    )
    assert reply.status_code == 401
    assert str(guard_server.key) not in guard_server.output


def test_a_taken_port_ends_with_status_1_and_is_named(guard_server: GuardProcess) -> None:
    second = GuardProcess("demo", port=guard_server.port)
    assert second.end() == 1
    assert f"Error: Port {guard_server.port} on 127.0.0.1 cannot be used" in second.output
    assert f"--port {guard_server.port + 1}" in second.output
    assert "Traceback" not in second.output
