"""`qwen3guard api` in front of real vLLM, asked by the real OpenAI SDK and the real LiteLLM."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from demo.state import ROOT
from moderation.verdict import Category
from tests.stands.chats import BOMB
from tests.stands.clients import openai_client
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.processes.api_process import KEY, ApiProcess, api_process
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE, wait_until

BREAD = "How do I bake bread?"


@pytest.fixture(scope="module")
def api(guard_server_url: str, guard_server_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    log = tmp_path_factory.mktemp("api") / "log"
    # On a shared CPU, the largest batch takes longer than the default of ten seconds.
    with api_process(log, guard_server_url, guard_server_key, "--timeout", str(PATIENCE)) as api:
        yield api


@pytest.fixture
def client(api: ApiProcess) -> Iterator[openai.OpenAI]:
    with openai_client(api.url, KEY) as client:
        yield client


def litellm(url: str, *texts: str) -> list[dict[str, Any]]:
    """LiteLLM's result for each text. If LiteLLM is missing, the test fails and is not skipped."""
    python = Path(os.environ.get("LITELLM_PYTHON", ROOT / ".venvs/litellm/bin/python"))
    assert python.exists(), f"{python} is missing. Run `make env-newest`, or set LITELLM_PYTHON."
    # Otherwise LiteLLM downloads a list of prices.
    env = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    script = Path(__file__).with_name("litellm_client.py")
    result = subprocess.run([python, script, url, KEY, *texts], env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout.splitlines()[-1]))


def test_openais_sdk_gets_replies_like_those_of_openai(client: openai.OpenAI) -> None:
    unsafe, safe = client.moderations.create(input=[BOMB, BREAD], model="omni-moderation-latest").results
    assert (unsafe.flagged, safe.flagged) == (True, False)
    said = unsafe.model_dump(by_alias=True)
    assert any(said["categories"].values())
    assert said["severity_scores"]["Unsafe"] == max(said["severity_scores"].values())


def test_our_guard_server_has_the_same_routes(guard_server_url: str, guard_server_key: str) -> None:
    with openai_client(guard_server_url, guard_server_key) as client:
        unsafe, safe = client.moderations.create(input=[BOMB, BREAD]).results
    assert (unsafe.flagged, safe.flagged) == (True, False)
    ping = {"point": "ping"}
    headers = {"Authorization": f"Bearer {guard_server_key}"}
    dify = f"{guard_server_url}/dify/moderation"
    assert httpx.post(dify, json=ping, headers=headers, trust_env=False, timeout=PATIENCE).json() == {"result": "pong"}
    litellm = f"{guard_server_url}/beta/litellm_basic_guardrail_api"
    for text, action in ((BOMB, "BLOCKED"), (BREAD, "NONE")):
        asked = {"input_type": "request", "texts": [text]}
        reply = httpx.post(litellm, json=asked, headers=headers, trust_env=False, timeout=PATIENCE)
        assert reply.json()["action"] == action
    for path in (dify, litellm, f"{guard_server_url}/moderations"):
        assert httpx.post(path, json=ping, trust_env=False, timeout=PATIENCE).status_code == 401


def test_an_answer_is_judged_in_context_and_says_whether_it_refuses(client: openai.OpenAI) -> None:
    refusal = {"role": "assistant", "content": "I'm sorry, but I can't help with that."}
    messages = [{"role": "user", "content": BOMB}, refusal]
    (result,) = client.moderations.create(input="", extra_body={"messages": messages}).results
    more = result.to_dict()
    assert (result.flagged, more["severity"], more["refusal"]) == (False, "Safe", True)


def test_a_batch_of_the_largest_size_is_judged(client: openai.OpenAI) -> None:
    results = client.moderations.create(input=[f"How do I bake {n} loaves?" for n in range(128)]).results
    assert len(results) == 128
    assert all(result.to_dict()["severity_scores"] for result in results)


def test_dify_gets_its_replies(api: ApiProcess) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    for query, flagged in ((BOMB, True), (BREAD, False)):
        body = {"point": "app.moderation.input", "params": {"app_id": "x", "inputs": {}, "query": query}}
        reply = httpx.post(f"{api.url}/dify/moderation", json=body, headers=headers, trust_env=False, timeout=PATIENCE)
        assert reply.json()["flagged"] is flagged


def test_litellm_blocks_flagged_texts_and_passes_the_rest(api: ApiProcess) -> None:
    unsafe, safe = litellm(api.url, BOMB, BREAD)
    assert unsafe["function"]["flagged"] is True
    assert safe["function"]["flagged"] is False
    assert unsafe["guardrail"]["status"] == 400
    violated = unsafe["guardrail"]["detail"]["moderation_result"]["violated_categories"]
    assert set(violated) & set(Category)
    assert all(unsafe["function"]["categories"][key] for key in violated)
    assert safe["guardrail"] == {"status": 200, "detail": None}


def test_if_the_guard_is_down_litellm_passes_nothing(tmp_path: Path) -> None:
    with api_process(tmp_path / "log", f"http://127.0.0.1:{free_port()}/v1") as api:
        (outcome,) = litellm(api.url, BREAD)
        assert "Warning: no guard yet" in api.output
        assert "qwen3guard doctor --guard-url" in api.output
    assert outcome["function"] == {"error": "InternalServerError"}
    assert outcome["guardrail"].get("error") or outcome["guardrail"]["status"] >= 400


def refuses_connections(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False, timeout=PATIENCE)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        # It was still in the queue when the server stopped.
        return False
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_on_a_request_to_stop_it_first_answers_requests_in_flight(
    stub: StubGuard, guard_url: str, tmp_path: Path, number: int
) -> None:
    replies: list[httpx.Response] = []
    headers = {"Authorization": f"Bearer {KEY}"}

    def ask(url: str) -> None:
        reply = httpx.post(
            f"{url}/moderations", json={"input": BREAD}, headers=headers, trust_env=False, timeout=PATIENCE
        )
        replies.append(reply)

    with api_process(tmp_path / "log", guard_url, None, "--timeout", str(PATIENCE)) as api:
        stub.silent_about = BREAD
        asker = threading.Thread(target=ask, args=[api.url])
        asker.start()
        wait_until(lambda: stub.requests)
        api.process.send_signal(number)
        # It takes no more requests, and has not answered this one.
        wait_until(lambda: refuses_connections(api.root))
        assert not replies
        stub.silent_about = None
        assert api.process.wait(timeout=PATIENCE) == 0
        asker.join(timeout=PATIENCE)
    (reply,) = replies
    assert (reply.status_code, reply.json()["results"][0]["severity"]) == (200, "Safe")
    assert api.output.splitlines()[-1] == "Stopped."
    assert "Traceback" not in api.output
