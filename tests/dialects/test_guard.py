"""What holds for a guard on any server: each test runs with the stand-in of each server (see conftest.py)."""

import asyncio
import time
from functools import partial

import pytest

from guard_server.doctor.examination import examine
from moderation.breaker import Breaker
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.verdict import Category, Severity
from tests.stands.chats import prompt
from tests.stands.guards.other_servers import StandIn
from tests.stands.remembered import remembered
from tests.stands.servers import free_port, serve
from tests.stands.waiting import PATIENCE, until


@pytest.mark.parametrize(
    ("text", "severity", "categories"),
    [
        ("How do I bake bread?", Severity.SAFE, ()),
        ("How do I make a bomb?", Severity.UNSAFE, (Category.VIOLENT,)),
        ("What do you think of politics?", Severity.CONTROVERSIAL, (Category.POLITICALLY_SENSITIVE_TOPICS,)),
    ],
)
async def test_the_very_first_verdict_is_right(
    guard: Guard, stub: StandIn, text: str, severity: Severity, categories: tuple[Category, ...]
) -> None:
    for judged in (text, f"{text} "):
        verdict = await guard.judge(prompt(judged))
        assert (verdict.severity, verdict.categories) == (severity, categories)
        assert (verdict.probabilities is not None) is stub.probabilities
        if verdict.probabilities is not None:
            assert max(verdict.probabilities, key=verdict.probabilities.__getitem__) is severity
            assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert {request["model"] for request in stub.requests} == {stub.model}


async def test_what_a_server_cannot_do_is_detected_once(guard: Guard, endpoint: Endpoint, stub: StandIn) -> None:
    await guard.judge(prompt("hello"))
    stub.requests.clear()
    answer = [*prompt("How do I pick it?"), Turn("assistant", "Turn the lock so.")]
    verdict = await guard.judge(answer)
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.NON_VIOLENT_ILLEGAL_ACTS,))
    assert endpoint.style is stub.style
    # One request for the label and one for its categories, or one for both.
    assert len(stub.requests) == (2 if stub.style == 0 else 1)


async def test_a_refusal_is_detected(guard_url: str, stub: StandIn) -> None:
    guard = Guard(Endpoint(guard_url, timeout=PATIENCE, refusals=True), timeout=PATIENCE)
    verdict = await guard.judge([*prompt("hello"), Turn("assistant", "I am unable to do that.")])
    await guard.aclose()
    assert (verdict.severity, verdict.refusal) == (Severity.SAFE, True)


async def test_the_context_is_learnt_if_the_server_reports_it(guard: Guard, endpoint: Endpoint, stub: StandIn) -> None:
    await endpoint.learn()
    assert endpoint.context_tokens == (10240 if stub.tells_context else None)


async def test_after_a_change_of_the_model_turns_are_judged_again(guard: Guard, stub: StandIn) -> None:
    await guard.judge(prompt("hello"))
    stub.model = "another-guard"
    assert await remembered(guard, prompt("hello")) is not None
    # The change is only detected when a request for a verdict fails; the next verdict is right.
    assert not (await guard.judge(prompt("who is there?"))).reached
    assert await remembered(guard, prompt("hello")) is None
    asked = len(stub.requests)
    assert (await guard.judge(prompt("hello"))).severity is Severity.SAFE
    assert (await guard.judge(prompt("who is there?"))).severity is Severity.SAFE
    assert {request["model"] for request in stub.requests[asked:]} == {"another-guard"}
    assert await remembered(guard, prompt("hello")) is not None


async def test_cached_verdicts_are_used_while_no_server_answers(stub: StandIn) -> None:
    port = free_port()
    async with Endpoint(f"http://127.0.0.1:{port}/v1", timeout=PATIENCE) as endpoint:
        guard = Guard(endpoint, timeout=PATIENCE)
        with serve(stub.app, port):
            assert (await guard.judge(prompt("hello"))).reached
        assert not (await guard.judge(prompt("and now?"))).reached
        assert (await guard.judge(prompt("hello"))).severity is Severity.SAFE


async def test_doctor_names_the_server_and_what_it_can_do(guard_url: str, stub: StandIn) -> None:
    report = await examine(guard_url, seconds=PATIENCE)
    found = {finding.check: f"{finding.found} {finding.remedy}" for finding in report.findings}
    assert report.healthy
    assert stub.server in found["server"]
    assert ("one" if stub.style == 0 else "full reply") in found["one-token verdicts"] + found["template"]
    assert ("without probabilities" in found["one-token verdicts"]) is not stub.probabilities
    assert ("block_threshold" in found["one-token verdicts"]) is not stub.probabilities


async def test_many_concurrent_first_turns_detect_the_right_style(guard_url: str, stub: StandIn) -> None:
    stub.delay = 0.02
    async with Endpoint(guard_url, timeout=PATIENCE) as endpoint:
        guard = Guard(endpoint, timeout=PATIENCE)
        verdicts = await asyncio.gather(*(guard.judge(prompt(f"hello {n}")) for n in range(20)))
        assert {verdict.severity for verdict in verdicts} == {Severity.SAFE}
        assert endpoint.style is stub.style


@pytest.mark.parametrize("nonsense", ["", "42", "Safety", " Sa", "Safety: Perhaps", " UnsafeSafe"])
async def test_nonsense_is_no_verdict(guard: Guard, stub: StandIn, nonsense: str) -> None:
    stub.nonsense = nonsense
    verdict = await guard.judge(prompt("hello"))
    assert not verdict.reached
    assert "could not be read" in str(verdict.problem)


async def test_nonsense_is_not_cached(guard: Guard, stub: StandIn) -> None:
    stub.nonsense = "42"
    assert not (await guard.judge(prompt("hello"))).reached
    stub.nonsense = None
    assert (await guard.judge(prompt("hello"))).severity is Severity.SAFE


async def test_a_hanging_guard_costs_only_the_deadline(guard_url: str, stub: StandIn) -> None:
    stub.delay = PATIENCE
    async with Endpoint(guard_url, timeout=0.3) as endpoint:
        started = time.monotonic()
        verdict = await Guard(endpoint, timeout=0.3).judge(prompt("hello"))
        assert time.monotonic() - started < stub.delay / 2
        assert "no verdict within 0.3 s" in str(verdict.problem)


async def test_a_down_guard_turns_callers_away_at_once_and_recovers(
    stub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("moderation.guard.Breaker", partial(Breaker, clock=lambda: now[0]))
    port = free_port()
    async with Endpoint(f"http://127.0.0.1:{port}/v1") as endpoint:
        guard = Guard(endpoint, timeout=PATIENCE)
        verdicts = await asyncio.gather(*(guard.judge(prompt(f"hello {n}")) for n in range(3)))
        assert not any(verdict.reached for verdict in verdicts)
        # The server is not even asked.
        assert "a moment ago" in str((await guard.judge(prompt("hello again"))).problem)
        now[0] += 2.1
        with serve(stub.app, port):
            assert (await guard.judge(prompt("hello again"))).severity is Severity.SAFE


async def test_a_server_error_is_retried_within_the_deadline(guard: Guard, stub: StandIn) -> None:
    await guard.judge(prompt("warm"))
    stub.requests.clear()
    stub.status = 503
    judging = asyncio.create_task(guard.judge(prompt("hello")))
    await until(lambda: stub.requests)
    stub.status = 200
    assert (await judging).severity is Severity.SAFE


async def test_a_wrong_key_is_named_as_the_cause(guard: Guard, stub: StandIn) -> None:
    stub.key = "secret"
    assert "401" in str((await guard.judge(prompt("hello"))).problem)


async def test_equal_turns_in_flight_are_judged_once_and_cached(guard: Guard, stub: StandIn) -> None:
    await guard.judge(prompt("warm"))
    stub.requests.clear()
    stub.delay = 0.05
    await asyncio.gather(*(guard.judge(prompt("hello")) for _ in range(10)))
    await guard.judge(prompt("hello"))
    assert len(stub.requests) == 1


async def test_a_caller_that_is_cancelled_does_not_cancel_the_verdict_for_others(guard: Guard, stub: StandIn) -> None:
    stub.silent_about = "hello"
    leaving = asyncio.create_task(guard.judge(prompt("hello")))
    staying = asyncio.create_task(guard.judge(prompt("hello")))
    await until(lambda: stub.requests)
    leaving.cancel()
    stub.silent_about = None
    assert (await staying).severity is Severity.SAFE


async def test_the_context_is_part_of_the_question(guard: Guard, stub: StandIn) -> None:
    await guard.judge(prompt("go on"))
    await guard.judge([Turn("user", "hi"), Turn("assistant", "hello"), Turn("user", "go on")])
    assert {len(request["messages"]) for request in stub.requests} == {1, 3}


async def test_an_empty_turn_needs_no_guard(guard: Guard, stub: StandIn) -> None:
    assert (await guard.judge(prompt(" \u200b "))).severity is Severity.SAFE
    assert stub.requests == []


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
async def test_a_long_turn_is_read_to_its_last_word(guard: Guard, stub: StandIn, place: float) -> None:
    stub.limit = 2048
    words = ["calm"] * 4000
    words.insert(int(place * 4000), "bomb")
    verdict = await guard.judge([*prompt("old context " * 800), Turn("user", " ".join(words))])
    assert verdict.severity is Severity.UNSAFE
    assert len(stub.requests) > 3


async def test_a_context_smaller_than_assumed_is_read_to_its_last_word(guard: Guard, stub: StandIn) -> None:
    stub.limit, stub.tells_limit = 1500, False
    verdict = await guard.judge(prompt("a. " * 900 + "bomb"))
    assert verdict.severity is Severity.UNSAFE
    # The whole text exceeds the context: if the server reports its context, fewer requests are made.
    longest = max(len(text) for text in stub.judged[len(stub.judged) // 2 :])
    assert (longest < 2700) is stub.refuses_too_long


async def test_old_context_gives_way_to_the_turn(guard: Guard, stub: StandIn) -> None:
    stub.limit = 4096
    history = [Turn("user", f"turn {n} " + "calm " * 200) for n in range(40)]
    verdict = await guard.judge([*history, Turn("user", "and now?")])
    assert verdict.severity is Severity.SAFE
    kept = stub.requests[-1]["messages"]
    assert 1 < len(kept) < 40
    assert kept[-2]["content"].startswith("turn 39")


async def test_windows_of_an_answer_keep_the_question(guard: Guard, stub: StandIn) -> None:
    stub.limit = 2048
    await guard.judge([*prompt("What is a calm day?"), Turn("assistant", "calm " * 4000)])
    assert {request["messages"][0]["content"] for request in stub.requests} == {"What is a calm day?"}
    assert {request["messages"][-1]["role"] for request in stub.requests} == {"assistant"}


async def test_a_model_is_chosen_by_its_name_if_the_admin_gives_one(guard_url: str, stub: StandIn) -> None:
    stub.model = "my-guard"
    guard = Guard(Endpoint(guard_url, model="my-guard", timeout=PATIENCE), timeout=PATIENCE)
    assert (await guard.judge(prompt("hello"))).severity is Severity.SAFE
    await guard.aclose()
    assert (guard.model, {request["model"] for request in stub.requests}) == ("my-guard", {"my-guard"})
