"""A guard that cannot work as the valves name it: the admin reads why, in the log, the audit and the chat."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from moderation.notices.notice import NoticeKind
from moderation.notices.notice_texts import TEXTS
from moderation.policy import Policy
from moderation.probe import PROBE_MARK
from moderation.review import Review
from moderation.verdict import Verdict
from moderation.version import VERSION
from tests.stands.chats import BOMB, USER, assistant, request, user
from tests.stands.guarded_models import complete
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.plugins import audited, started_filter, started_models
from tests.stands.servers import serve
from tests.stands.waiting import until
from webui.guard_hint import guard_hint, is_about_guard
from webui.moderator import ModerationValves, Moderator

ADMIN = {"id": "boss", "role": "admin"}
NOT_CHECKED = TEXTS["en"]["not_checked"]


@pytest.fixture
def other_url() -> Iterator[str]:
    """A server that is no guard: its root is a page, and one path is moved."""

    async def page(request: Request) -> Response:
        return PlainTextResponse("<html>It works!</html>")

    async def moved(request: Request) -> Response:
        return RedirectResponse("/elsewhere", 301)

    routes = [Route("/moved/{rest:path}", moved), Route("/{rest:path}", page, methods=["GET", "POST"])]
    with serve(Starlette(routes=routes)) as url:
        yield url


# What is wrong, the valves, whether it is seen before anybody chats, and words that the admin reads.
TROUBLES = [
    ("nobody listens", {"guard_base_url": "http://127.0.0.1:1/v1"}, True, ["cannot be reached", "guard_base_url"]),
    ("no /v1", {"guard_base_url": "{guard}"}, True, ["lists no model", "guard_base_url", "/v1"]),
    ("a web page", {"guard_base_url": "{other}/v1"}, True, ["OpenAI-compatible", "guard_base_url"]),
    ("moved", {"guard_base_url": "{other}/moved/v1"}, True, ["redirects", "/elsewhere", "guard_base_url"]),
    ("wrong key", {"guard_api_key": "sk-wrong"}, True, ["401", "guard_api_key"]),
    ("a key with a line break", {"guard_api_key": "sk-\n1"}, True, ["characters", "guard_api_key"]),
    ("no such model", {"guard_model": "llama3"}, False, ["does not exist", "guard_model"]),
    ("no guard", {}, False, ["As a poet", "no Qwen3Guard-Gen", "guard_model"]),
    ("too slow", {"timeout_seconds": 0.5}, False, ["0.5 s", "timeout_seconds"]),
]


@pytest.mark.parametrize(("trouble", "valves", "at_start", "words"), TROUBLES, ids=[trouble[0] for trouble in TROUBLES])
async def test_an_admin_reads_the_cause_and_the_valve(
    trouble: str,
    valves: dict[str, Any],
    at_start: bool,
    words: list[str],
    stub: StubGuard,
    guard_url: str,
    other_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stub.key = "sk-right" if trouble == "wrong key" else None
    stub.nonsense = "As a poet, I would rather not say." if trouble == "no guard" else None
    stub.delay = 60 if trouble == "too slow" else 0
    places = {"guard": guard_url.removesuffix("/v1"), "other": other_url}
    if "guard_base_url" in valves:
        valves = {"guard_base_url": valves["guard_base_url"].format(**places)}
    with caplog.at_level(logging.WARNING, "qwen3guard"):
        async with started_filter(guard_url, tmp_path, **valves) as pipeline:
            if at_start:
                await until(lambda: caplog.messages)
                assert all(word in caplog.messages[-1] for word in words), caplog.messages
            asked = {by["role"]: await pipeline.inlet(request(user("hi there")), by) for by in (ADMIN, USER)}
            shown = {by["role"]: await pipeline.outlet(chat(), by) for by in (ADMIN, USER)}
            records = await audited(pipeline, tmp_path)
    for said in (asked["admin"]["messages"][0]["content"], shown["admin"]["messages"][-1]["content"]):
        assert NOT_CHECKED in said
        assert all(word in said for word in words), said
    assert asked["user"]["messages"][0]["content"].endswith(f"\n\n{NOT_CHECKED}")
    assert shown["user"]["messages"][-1]["content"] == NOT_CHECKED
    # Said once, however many turns it withholds.
    (problem,) = [record["problem"] for record in records if record["event"] == "setting"]
    assert all(word in problem for word in words)
    assert problem in caplog.messages
    assert "sk-wrong" not in json.dumps(records) + caplog.text


def chat() -> dict[str, Any]:
    messages = [{"id": "q", **user("hi there")}, {"id": "a", **assistant("Hello!")}]
    return {"model": "chat", "chat_id": "c", "id": "a", "messages": messages}


async def test_guarded_models_say_it_to_an_admin_too(stub: StubGuard, guard_url: str, tmp_path: Path) -> None:
    stub.nonsense = "As a poet, I would rather not say."
    with serve(StubModel().app) as model:
        async with started_models(guard_url, f"{model}/v1", tmp_path) as pipeline:
            said = {}
            for by in (ADMIN, USER):
                reply = await complete(pipeline, user("hi there"), user=by)
                said[by["role"]] = reply["choices"][0]["message"]["content"]
    assert said["user"] == NOT_CHECKED
    assert said["admin"].startswith(NOT_CHECKED)
    assert "guard_model" in said["admin"]


async def test_only_an_admin_who_asks_with_the_probe_reads_what_judged_it(guard_url: str, tmp_path: Path) -> None:
    refused, probe = TEXTS["en"]["prompt_refused"], f"{BOMB} ({PROBE_MARK})"
    with serve(StubModel().app) as model:
        async with started_models(guard_url, f"{model}/v1", tmp_path) as pipeline:
            said = {
                (by["role"], asked): (await complete(pipeline, user(asked), user=by))["choices"][0]["message"][
                    "content"
                ]
                for by in (ADMIN, USER)
                for asked in (BOMB, probe)
            }
    status = said.pop(("admin", probe)).removeprefix(refused)
    assert set(said.values()) == {refused}
    assert f"Plugin {VERSION}; its guard is" in status
    assert "one token" in status
    assert guard_url in status


async def test_it_is_reported_again_after_the_guard_has_worked(stub: StubGuard, guard_url: str, tmp_path: Path) -> None:
    async with started_filter(guard_url, tmp_path) as pipeline:
        for number, nonsense in enumerate(["odd", "odd", None, "odd"]):
            stub.nonsense = nonsense
            await pipeline.inlet(request(user(f"hi {number}")), USER)
        records = await audited(pipeline, tmp_path)
    assert [record["event"] for record in records].count("setting") == 2


async def moderator_says(folder: Path, problem: str, **valves: Any) -> str:
    """What an admin reads of a turn without a verdict."""
    moderator = Moderator(ModerationValves(**valves), folder)
    verdict = Verdict.none(problem)
    said = moderator.notice(
        Review(verdict, Policy().decide(verdict), 0, True), "hi", NoticeKind.PROMPT_REFUSED, role="admin"
    )
    await moderator.aclose()
    return said


async def test_before_the_guard_is_set_an_admin_reads_that_it_is_not_set(tmp_path: Path) -> None:
    said = await moderator_says(tmp_path, "http://localhost:8000/v1 cannot be reached (refused)")
    assert "was not set yet" in said
    assert "guard_base_url" in said
    assert "not set yet" not in await moderator_says(tmp_path, "x cannot be reached", guard_base_url="http://x/v1")


async def test_an_address_without_http_is_named(tmp_path: Path) -> None:
    said = await moderator_says(
        tmp_path, "http://localhost:8000/v1 cannot be reached (refused)", guard_base_url="guard:8000/v1"
    )
    assert "begins with http://" in said
    assert "'http://localhost:8000/v1' is used instead" in said


def test_a_hint_is_short_and_on_one_line() -> None:
    hint = guard_hint("the guard's reply could not be read: 'a\nb" + "x" * 5000)
    assert "\n" not in hint
    assert len(hint) < 600


@pytest.mark.parametrize("problem", ["the review of a request failed: RuntimeError", "the guard cannot read image_url"])
def test_causes_other_than_the_guard_are_not_blamed_on_its_valves(problem: str) -> None:
    assert not is_about_guard(problem)
    assert guard_hint(problem) == f"{problem}."
