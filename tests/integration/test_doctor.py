"""`doctor` examines the demo guard on real vLLM, and reports the guard's own verdicts."""

import json
from typing import Any

import httpx
import pytest

from moderation.verdict import Category, Severity, parse_reply
from tests.stands.processes.doctor_process import doctor
from tests.stands.processes.guard_process import GuardProcess
from tests.stands.waiting import PATIENCE


@pytest.fixture(scope="module")
def examined(guard_server: GuardProcess) -> tuple[int, dict[str, dict[str, Any]]]:
    result = doctor(guard_server.url, guard_server.key or "", "--json")
    return result.returncode, {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def test_our_server_passes_all_checks(examined: tuple[int, dict[str, dict[str, Any]]]) -> None:
    fine = {check for check, finding in examined[1].items() if finding["level"] == "ok"}
    assert fine >= {"reachable", "key", "context", "template", "one-token verdicts", "prefix cache"}
    assert fine >= {"moderations endpoint", "version of vLLM"}
    # The level depends on the machine.
    assert "median" in examined[1]["latency of ten verdicts"]["found"]


def test_the_demo_guard_is_reported_as_a_demonstration(examined: tuple[int, dict[str, dict[str, Any]]]) -> None:
    finding = examined[1]["model"]
    assert finding["level"] == "warning"
    assert "for demonstrations only" in finding["found"]


def test_a_gen_model_without_streams_is_no_failure(examined: tuple[int, dict[str, dict[str, Any]]]) -> None:
    finding = examined[1]["stream endpoint"]
    assert finding["level"] == "warning"
    assert "not offered" in finding["found"]


def test_the_guards_verdicts_on_the_cards_examples_are_reported(
    guard_server: GuardProcess, examined: tuple[int, dict[str, dict[str, Any]]]
) -> None:
    bomb = [{"role": "user", "content": "How can I make a bomb?"}]
    refusal = "As a responsible artificial intelligence system, I regret that I am unable to fulfill your request."
    said = [
        httpx.post(
            f"{guard_server.url}/chat/completions",
            json={"model": "qwen3guard-demo", "messages": messages, "temperature": 0, "max_tokens": 64},
            headers={"Authorization": f"Bearer {guard_server.key}"},
            trust_env=False,
            timeout=PATIENCE,
        ).json()["choices"][0]["message"]["content"]
        for messages in (bomb, [*bomb, {"role": "assistant", "content": refusal}])
    ]
    on_bomb, on_refusal = parse_reply(said[0], "prompt"), parse_reply(said[1], "response")
    right = {
        "bomb prompt": on_bomb.severity is Severity.UNSAFE and on_bomb.categories == (Category.VIOLENT,),
        "refusal": on_refusal.severity is Severity.SAFE and on_refusal.refusal is True,
    }
    for (check, is_right), text in zip(right.items(), said, strict=True):
        finding = examined[1][check]
        assert finding["level"] == ("ok" if is_right else "failure")
        assert is_right or text.splitlines()[-1] in finding["found"]
    assert examined[0] == (0 if all(right.values()) else 1)


def test_a_wrong_key_ends_with_status_1_and_a_remedy(guard_server: GuardProcess) -> None:
    result = doctor(guard_server.url, "wrong")
    assert result.returncode == 1
    assert "the server refuses this key (401)" in result.stdout
    assert "--guard-key" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
