"""`doctor --webui`: what replies and settings mean, and when a change is reported.

The real programs are in tests/e2e/test_strangers_walk.py.
"""

import asyncio
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute
from typer.testing import CliRunner

from guard_server import __version__, cli
from guard_server.doctor.examination import Level
from guard_server.doctor.protection import protection_watch, valves
from guard_server.doctor.protection.check import check_protection
from guard_server.doctor.protection.notice_reader import Meaning, NoticeReader
from guard_server.doctor.protection.outcome import Said, outcome
from guard_server.doctor.protection.paths import NEUTRAL_TITLE
from guard_server.doctor.protection.plugin_answers import answer_findings
from guard_server.doctor.protection.protection_report import PathFinding, PathState, ProtectionReport
from guard_server.doctor.protection.protection_settings import PUBLIC_KEY, setting_findings
from guard_server.doctor.protection.protection_table import show_protection
from guard_server.doctor.protection.routes import ROUTES
from guard_server.doctor.protection.valves import Plugin
from guard_server.errors import WebuiError, WebuiUnreachable
from guard_server.open_webui import chat_replies
from guard_server.open_webui.chat_replies import Reply
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import (
    EVERYBODY,
    Function,
    ModelRecord,
    Pipeline,
    PipelinesServer,
    WebuiConnection,
    WebuiModel,
)
from guard_server.open_webui.survey import Survey
from guard_server.probe_prompts import ProbePrompts
from moderation.audit.audit import Audit
from moderation.audit.audit_record import AuditEntry, AuditRecord
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import ServerFacts, Style
from moderation.guard import Guard
from moderation.notices.notice import NoticeKind
from moderation.notices.notice_texts import TEXTS
from moderation.policy import Policy
from moderation.probe import PROBE_ANSWER
from moderation.verdict import Severity
from tests.stands.admin_api import TOKEN, AdminApi
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE
from webui.bodies import neutral_answer
from webui.plugin_status import plugin_status

EN = TEXTS["en"]
PROMPTS = ProbePrompts("1a2b")
ROUTE = {route.name: route for route in ROUTES}


# The test answer.


async def judged(url: str, *turns: Turn) -> Severity | None:
    guard = Guard(Endpoint(url, "EMPTY", "auto", PATIENCE), timeout=PATIENCE)
    try:
        verdicts = [(await guard.judge(list(turns))).severity for _ in range(2)]
    finally:
        await guard.aclose()
    assert verdicts[0] == verdicts[1], "the cached verdict is another one"
    return verdicts[0]


@pytest.mark.parametrize(
    ("turn", "severity"),
    [
        (Turn("assistant", f"Here: {PROBE_ANSWER}."), Severity.UNSAFE),
        (Turn("user", PROMPTS.harmless), Severity.SAFE),
        (Turn("user", PROMPTS.harmless_chat), Severity.SAFE),
        (Turn("user", PROMPTS.unsafe), Severity.UNSAFE),
        (Turn("assistant", PROBE_ANSWER[:-1]), Severity.SAFE),
    ],
)
def test_the_test_answer_is_unsafe_in_an_answer_only(guard_url: str, turn: Turn, severity: Severity) -> None:
    assert asyncio.run(judged(guard_url, turn)) is severity


def test_without_a_guard_the_test_answer_has_no_verdict(stub: StubGuard, guard_url: str) -> None:
    stub.status = 503
    assert asyncio.run(judged(guard_url, Turn("user", "hello"), Turn("assistant", PROBE_ANSWER))) is None


def test_no_policy_lets_the_test_answer_pass_that_refuses_anything(guard_url: str) -> None:
    async def verdict() -> Any:
        guard = Guard(Endpoint(guard_url, "EMPTY", "auto", PATIENCE), timeout=PATIENCE)
        try:
            return await guard.judge([Turn("user", "hello"), Turn("assistant", PROBE_ANSWER)])
        finally:
            await guard.aclose()

    found = asyncio.run(verdict())
    for strictness in ("strict", "loose"):
        assert not Policy(strictness=strictness, block_threshold=0.99).decide(found).passes


def test_probes_are_recorded_as_probes() -> None:
    class Kept:
        def __init__(self) -> None:
            self.records: list[dict[str, Any]] = []

        def put(self, entry: AuditEntry) -> None:
            self.records.append(entry.values())

        def close(self) -> None: ...

    kept = Kept()
    audit = Audit(kept)
    for text in (PROMPTS.unsafe, PROMPTS.harmless, PROBE_ANSWER, "hello"):
        audit.record(AuditRecord(), text=text)
    audit.close()
    assert [record.get("probe") for record in kept.records] == [True, True, True, None]


# Replies.


def sse(*events: dict[str, Any]) -> httpx.Response:
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=lines)


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def whole(text: str) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})


@pytest.mark.parametrize(
    ("response", "meaning"),
    [
        (whole("Paris."), Meaning.ANSWERED),
        (whole(EN["prompt_refused"]), Meaning.PROMPT_REFUSED),
        (whole(TEXTS["ja"]["answer_withheld"]), Meaning.ANSWER_WITHHELD),
        (whole(f"{EN['prompt_refused']} (Violent)"), Meaning.PROMPT_REFUSED),
        (whole(f"{EN['not_checked']}\n\nOnly admins read this: it is down."), Meaning.NO_VERDICT),
        (whole(f"I repeat: {PROBE_ANSWER}"), Meaning.UNJUDGED_ANSWER),
        (sse(delta("Par"), delta("is."), {"choices": [], "usage": {}}), Meaning.ANSWERED),
        (sse(delta("qwen3guard-pro"), delta(f"\n\n{EN['answer_withheld']}")), Meaning.ANSWER_WITHHELD),
        (sse({"error": {"message": "Chat completion stream failed"}}), Meaning.ERROR),
        (httpx.Response(400, json={"detail": EN["prompt_refused"]}), Meaning.PROMPT_REFUSED),
        (httpx.Response(200, json={"error": {"detail": "overloaded"}}), Meaning.ERROR),
        (httpx.Response(200, json={"detail": "Title generation is disabled"}), Meaning.ERROR),
        (httpx.Response(400, json={"detail": "Model not found"}), Meaning.NO_ACCESS),
        (httpx.Response(403, json={"detail": "No"}), Meaning.NO_ACCESS),
        (httpx.Response(500, text="Internal Server Error"), Meaning.ERROR),
        (httpx.Response(200, text="<html>"), Meaning.ERROR),
        (whole(""), Meaning.ERROR),
    ],
)
def test_a_reply_is_understood(response: httpx.Response, meaning: Meaning) -> None:
    assert NoticeReader([]).meaning(chat_replies.chat_reply(response)) is meaning


@given(st.text())
def test_no_reply_is_too_odd(text: str) -> None:
    for read in (
        chat_replies.chat_reply,
        chat_replies.message_reply,
        chat_replies.output_reply,
        chat_replies.title_reply,
    ):
        NoticeReader([]).meaning(read(httpx.Response(200, text=text)))


def test_the_other_apis_are_understood() -> None:
    reader = NoticeReader([(NoticeKind.PROMPT_REFUSED, "Not here.")])
    anthropic = httpx.Response(200, json={"content": [{"type": "text", "text": "Not here."}]})
    responses = httpx.Response(200, json={"output": [{"content": [{"type": "output_text", "text": "Not here."}]}]})
    stored = {"output": [{"type": "message", "content": [{"text": "Not here."}]}]}
    events = [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in ("Not ", "here.")
    ]
    for reply in (
        chat_replies.message_reply(anthropic),
        chat_replies.message_reply(sse(*events)),
        chat_replies.output_reply(responses),
        chat_replies.stored_reply(stored),
        chat_replies.stored_reply({"content": "Not here. (Violent)"}),
        chat_replies.stored_reply({"content": "", "error": {"content": "Not here."}}),
    ):
        assert reader.meaning(reply) is Meaning.PROMPT_REFUSED


def test_a_refused_title_is_known_by_the_neutral_one() -> None:
    assert chat_replies.title_reply(whole(neutral_answer("title_generation", ""))).text == NEUTRAL_TITLE
    assert chat_replies.title_reply(whole("Paris")).text == "Paris"


# Outcomes.


def said(meaning: Meaning, words: str = "words", status: int = 200) -> Said:
    return Said(Reply(status, words), meaning)


@pytest.mark.parametrize(
    ("unsafe", "harmless", "state", "level"),
    [
        (Meaning.PROMPT_REFUSED, Meaning.ANSWER_WITHHELD, PathState.PROTECTED, Level.OK),
        (Meaning.ANSWERED, Meaning.ANSWERED, PathState.OPEN, Level.FAILURE),
        (Meaning.ANSWERED, Meaning.ANSWER_WITHHELD, PathState.OPEN, Level.FAILURE),
        (Meaning.PROMPT_REFUSED, Meaning.UNJUDGED_ANSWER, PathState.OPEN, Level.FAILURE),
        # The model's own server refused the unsafe prompt; the plugins did not.
        (Meaning.ERROR, Meaning.UNJUDGED_ANSWER, PathState.OPEN, Level.FAILURE),
        (Meaning.ERROR, Meaning.ANSWER_WITHHELD, PathState.NOT_SEEN, Level.WARNING),
        (Meaning.PROMPT_REFUSED, Meaning.ANSWERED, PathState.NOT_SEEN, Level.WARNING),
        (Meaning.NO_VERDICT, Meaning.NO_VERDICT, PathState.CLOSED, Level.FAILURE),
        (Meaning.PROMPT_REFUSED, Meaning.PROMPT_REFUSED, PathState.CLOSED, Level.FAILURE),
        (Meaning.ERROR, Meaning.ERROR, PathState.CLOSED, Level.FAILURE),
        (Meaning.NO_ACCESS, Meaning.NO_ACCESS, PathState.CLOSED, Level.FAILURE),
    ],
)
def test_two_replies_decide(unsafe: Meaning, harmless: Meaning, state: PathState, level: Level) -> None:
    found = outcome(ROUTE["chat page"], said(unsafe), said(harmless), offered=True, cause="it is down")
    assert (found.state, found.level) == (state, level)
    assert (found.remedy is None) is (level is Level.OK)


@given(st.sampled_from(Meaning), st.sampled_from(Meaning), st.sampled_from(ROUTES), st.booleans())
def test_only_refusals_are_protected_and_what_passes_is_open(
    unsafe: Meaning, harmless: Meaning, route: Any, offered: bool
) -> None:
    found = outcome(route, said(unsafe), said(harmless), offered=offered)
    passes = unsafe in (Meaning.ANSWERED, Meaning.UNJUDGED_ANSWER) or harmless is Meaning.UNJUDGED_ANSWER
    assert (found.state is PathState.OPEN) is passes
    if found.state is PathState.PROTECTED:
        assert unsafe in (Meaning.PROMPT_REFUSED, Meaning.ANSWER_WITHHELD)
        assert harmless is Meaning.ANSWER_WITHHELD or route.is_task


def test_a_model_that_users_may_not_use_is_closed_as_it_should_be() -> None:
    found = outcome(ROUTE["/openai"], said(Meaning.NO_ACCESS), said(Meaning.NO_ACCESS), offered=False)
    assert (found.state, found.level) == (PathState.CLOSED, Level.OK)


# Settings.

FILTER = "qwen3guard_filter"
SOUND: dict[str, Any] = {"pipelines": ["*"], "mode": "enforce", "refusal_model": "qwen3guard_refusal"}


def record(name: str, *, active: bool = True, public: bool = True) -> ModelRecord:
    grants = (EVERYBODY,) if public else ()
    return ModelRecord(name, name, None, active, grants, {})


def pipelines(
    key: str = "sk-own", problem: str = "", records: tuple[ModelRecord, ...] = (), **settings: Any
) -> tuple[Survey, PipelinesServer]:
    connection = WebuiConnection(1, "http://pipelines:9099", key, settings)
    server = PipelinesServer(connection, (), problem)
    listed = (WebuiModel(FILTER, "Qwen3Guard", "openai", 1, FILTER, "filter", ("*",)),)
    return survey(pipelines=(server,), models=listed, records=(record("qwen3guard_refusal"), *records)), server


def survey(**found: Any) -> Survey:
    nothing: dict[str, Any] = dict.fromkeys(
        ("connections", "ollama", "pipelines", "functions", "models", "records"), ()
    )
    fixed: dict[str, Any] = {
        "url": "http://webui",
        "version": "0.12.4",
        "users": 3,
        "openai_enabled": True,
        "ollama_enabled": False,
    }
    return Survey(**fixed, **nothing | {"model_settings": {}, "task_settings": {}} | found)


def failures(found: Survey, *plugins: Plugin, direct: bool = False) -> list[str]:
    findings = setting_findings(found, plugins, direct=direct)
    assert all((one.remedy is None) is (one.level is Level.OK) for one in findings)
    return [one.found for one in findings if one.level is Level.FAILURE]


def test_a_sound_filter_in_a_pipelines_server_fails_nothing() -> None:
    found, server = pipelines()
    assert failures(found, Plugin(FILTER, True, SOUND, server)) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"key": PUBLIC_KEY}, "its key is Pipelines' default"),
        ({"key": ""}, "no key"),
        ({"problem": "Connection refused"}, "Connection refused"),
        ({"prefix_id": "my"}, "has the prefix 'my'"),
        ({"records": (record(FILTER, active=False),)}, "switched off among the models"),
    ],
)
def test_what_switches_the_filter_off_is_found(changed: dict[str, Any], says: str) -> None:
    found, server = pipelines(**changed)
    (failed,) = failures(found, Plugin(FILTER, True, SOUND, server))
    assert says in failed
    assert "sk-own" not in failed


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"pipelines": ["*", "x"]}, "it is on for ['*', 'x'] only"),
        ({"mode": "monitor"}, "it refuses nothing"),
        ({"refusal_model": "another"}, "cannot be read by all users"),
    ],
)
def test_valves_that_open_are_found(changed: dict[str, Any], says: str) -> None:
    found, server = pipelines()
    (failed,) = failures(found, Plugin(FILTER, True, SOUND | changed, server))
    assert says in failed


def test_a_refusal_model_that_is_not_public_is_found() -> None:
    _, server = pipelines()
    found = survey(
        models=(WebuiModel(FILTER, "", "", 1, FILTER, "filter"),),
        records=(record("qwen3guard_refusal", public=False),),
    )
    (failed,) = failures(found, Plugin(FILTER, True, SOUND, server))
    assert "cannot be read by all users" in failed


def test_workers_that_differ_are_found() -> None:
    found, server = pipelines()
    (failed,) = failures(found, Plugin(FILTER, True, SOUND, server, workers_agree=False))
    assert "different valves" in failed
    (failed,) = failures(found, Plugin(FILTER, True, SOUND, server, in_all_workers=False))
    assert "not all workers" in failed


STRICT, LOOSE = {"strictness": "strict"}, {"strictness": "loose"}


@pytest.mark.parametrize(
    ("answers", "agree", "everywhere"),
    [
        ([STRICT], True, True),
        # Saved a moment ago: the other worker follows.
        ([STRICT, LOOSE] * 8 + [LOOSE], True, True),
        ([STRICT, LOOSE] * 16, False, True),
        ([STRICT, None] * 16, True, False),
    ],
)
def test_workers_are_asked_again_before_they_are_said_to_differ(
    answers: list[dict[str, Any] | None], agree: bool, everywhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(answers)

    async def answer(request: Request) -> Response:
        found = next(coming, answers[-1])
        return JSONResponse(found) if found is not None else JSONResponse({"detail": "Pipeline not found"}, 404)

    monkeypatch.setattr(valves, "_FOLLOW_SECONDS", 0)
    connection = WebuiConnection(0, "http://pipelines:9099", "sk-own", {})
    server = PipelinesServer(connection, (Pipeline(FILTER, FILTER, "filter", has_valves=True),))
    app = Starlette(routes=[HttpRoute(f"/api/v1/pipelines/{FILTER}/valves", answer)])
    with serve(app) as url, WebuiClient(url, TOKEN, 10) as admin:
        (plugin,) = valves.our_plugins(admin, survey(pipelines=(server,)))
    assert (plugin.workers_agree, plugin.in_all_workers) == (agree, everywhere)


def function(*, active: bool = True, everywhere: bool = True, version: str = __version__) -> Plugin:
    manifest = {"manifest": {"version": version}}
    made = Function("qwen3guard_function_filter", "", "filter", active, everywhere, manifest, "", {})
    return Plugin(made.id, True, {}, function=made)


def test_a_function_that_is_off_is_found_and_an_older_one_is_a_warning() -> None:
    assert failures(survey(), function()) == []
    assert failures(survey(), function(active=False)) == ["it is switched off"]
    assert failures(survey(), function(everywhere=False)) == ["it is not on for every model"]
    warnings = [one for one in setting_findings(survey(), (function(version="0.0.1"),), direct=False) if one.remedy]
    assert [one.level for one in warnings] == [Level.WARNING]


def test_a_list_of_model_ids_is_found_though_open_webui_shows_no_plugin_then() -> None:
    listed = WebuiConnection(1, "http://pipelines:9099", "sk-own", {"model_ids": [FILTER]})
    found = failures(survey(connections=(listed,)))
    assert "list of model ids" in found[0]


WAYS: list[dict[str, Any]] = [
    {"style": Style.ONE_TOKEN},
    {"style": Style.FULL_WITH_LOGPROBS},
    {"style": Style.FULL},
    {"lean": True},
    {"streams": True},
]


def test_the_answer_of_a_plugin_has_its_version_and_the_way_to_its_guard() -> None:
    url = "http://me:secret@guard:8000/v1"
    facts = [ServerFacts(number=1, learnt_at=0, model="Qwen3Guard-Gen-4B", owner="vllm", **way) for way in WAYS]
    answers = {plugin_status(url, one) for one in (*facts, None)}
    assert len(answers) == len(WAYS) + 1
    for one in answer_findings(answers):
        assert (one.level, one.remedy) == (Level.OK, None)
        assert "guard:8000" in one.found
        assert "secret" not in one.found


@pytest.mark.parametrize("said", ["", "Plugin 0.0.1; its guard is asked somehow."])
def test_a_plugin_of_another_version_is_a_warning(said: str) -> None:
    (found,) = answer_findings({said})
    assert found.level is Level.WARNING
    assert "--upgrade" in str(found.remedy)


def test_no_plugin_and_direct_connections_are_found() -> None:
    assert len(failures(survey(), direct=True)) == 2


# The whole check.


class ChattingApi(AdminApi):
    """A stand-in that ordinary users chat with, too: an open model, and one that they may not use."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, dict[str, Any]] = {"admin": {"id": "admin", "email": "admin@localhost"}}
        self.asked: list[str] = []
        self.settings["connections"] = {"ENABLE_DIRECT_CONNECTIONS": False}
        self.made = 0
        self.broken = False
        """Lists no models for users."""

    @property
    def app(self) -> Starlette:
        own = [
            HttpRoute("/api/v1/auths/add", self._add, methods=["POST"]),
            HttpRoute("/api/v1/users/", self._users),
            HttpRoute("/api/v1/users/{id}", self._remove, methods=["DELETE"]),
            HttpRoute("/api/v1/configs/connections", lambda _: JSONResponse(self.settings["connections"])),
            HttpRoute("/api/models", self._models),
            HttpRoute("/api/chat/completions", self._chat, methods=["POST"]),
            HttpRoute("/openai/chat/completions", self._chat, methods=["POST"]),
        ]
        return Starlette(routes=[*own, *super().app.routes])

    async def _add(self, request: Request) -> Response:
        form = await request.json()
        assert form["role"] == "user"
        self.made += 1
        self.accounts["temporary"] = {"id": "temporary", "email": form["email"], "created_at": time.time()}
        return JSONResponse({"id": "temporary", "token": "sk-temporary"})

    async def _users(self, request: Request) -> Response:
        if request.headers["authorization"] != f"Bearer {TOKEN}":
            return JSONResponse({"detail": "no admin"}, 401)
        found = [one for one in self.accounts.values() if request.query_params.get("query", "") in one["email"]]
        return JSONResponse({"users": found, "total": len(found)})

    async def _remove(self, request: Request) -> Response:
        del self.accounts[request.path_params["id"]]
        return JSONResponse(True)

    async def _models(self, request: Request) -> Response:
        if self.broken and request.headers["authorization"] != f"Bearer {TOKEN}":
            return JSONResponse({"detail": "broken"}, 500)
        return JSONResponse({"data": [{"id": "open"}]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(request.headers["authorization"])
        if body["model"] != "open":
            return JSONResponse({"detail": "Model not found"}, 404)
        if body.get("session_id"):
            return JSONResponse({"detail": "The page is closed today."}, 400)
        return JSONResponse({"choices": [{"message": {"content": "Of course."}}]})


@pytest.fixture
def chatting() -> Iterator[tuple[ChattingApi, WebuiClient]]:
    api = ChattingApi()
    with serve(api.app) as url, WebuiClient(url, TOKEN, 10) as admin:
        yield api, admin


def test_an_ordinary_user_asks_and_is_removed_again(chatting: tuple[ChattingApi, WebuiClient]) -> None:
    api, admin = chatting
    found = check_protection(admin)
    assert set(api.accounts) == {"admin"}
    assert set(api.asked) == {"Bearer sk-temporary"}
    states = {(one.model, one.path): one.state for one in found.paths}
    assert states["open", "API"] is PathState.OPEN
    assert states["open", "/openai"] is PathState.OPEN
    assert states["open", "chat page"] is PathState.CLOSED
    assert {state for (model, _), state in states.items() if model == "closed"} == {PathState.CLOSED}
    assert not any(one.level is Level.FAILURE for one in found.paths if one.model == "closed")
    assert not found.protected
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    show_protection(found, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "an unsafe prompt was answered" in printed
    assert "none of Qwen3Guard's is seen" in printed
    assert TOKEN not in printed


def test_the_account_is_removed_though_the_check_fails(chatting: tuple[ChattingApi, WebuiClient]) -> None:
    api, admin = chatting
    api.broken = True
    with pytest.raises(WebuiError):
        check_protection(admin)
    assert api.made == 1
    assert set(api.accounts) == {"admin"}


def test_accounts_of_checks_that_were_killed_are_removed(chatting: tuple[ChattingApi, WebuiClient]) -> None:
    api, admin = chatting
    old, new = time.time() - 7200, time.time()
    api.accounts |= {
        "old": {"id": "old", "email": "1@qwen3guard-check.invalid", "created_at": old},
        "new": {"id": "new", "email": "2@qwen3guard-check.invalid", "created_at": new},
        "like": {"id": "like", "email": "me@qwen3guard-check.invalid.example", "created_at": old},
    }
    check_protection(admin)
    assert set(api.accounts) == {"admin", "new", "like"}


def test_a_user_of_the_admins_is_asked_as_and_stays(chatting: tuple[ChattingApi, WebuiClient]) -> None:
    api, admin = chatting
    check_protection(admin, "sk-somebody")
    assert set(api.asked) == {"Bearer sk-somebody"}
    assert set(api.accounts) == {"admin"}


def test_the_command_ends_with_the_status_for_cron(chatting: tuple[ChattingApi, WebuiClient]) -> None:
    _, admin = chatting
    result = CliRunner().invoke(cli.app, ["doctor", "--webui", admin.url, "--json"], env={"OPEN_WEBUI_TOKEN": TOKEN})
    assert result.exit_code == 1
    assert ProtectionReport.model_validate_json(result.stdout).paths
    assert TOKEN not in result.output
    wrong = CliRunner().invoke(cli.app, ["doctor", "--webui", admin.url], env={"OPEN_WEBUI_TOKEN": "sk-wrong"})
    assert wrong.exit_code == 1
    assert "Remedy: " in wrong.stderr


# Watching.


class Webhook:
    """Keeps what it gets; refuses as often as it is told."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.refusals = 0
        self.app = Starlette(routes=[HttpRoute("/", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        if self.refusals:
            self.refusals -= 1
            return JSONResponse({}, 503)
        self.got.append(await request.json())
        return JSONResponse({})


class Stopped(Exception):
    pass


def report(state: PathState, why: str = "why") -> ProtectionReport:
    level = Level.FAILURE if state is PathState.OPEN else Level.OK
    path = PathFinding(model="m", path="API", state=state, level=level, why=why)
    return ProtectionReport(url="http://webui", version="0.12.4", settings=(), paths=(path,))


@pytest.fixture
def webhook() -> Iterator[tuple[Webhook, str]]:
    webhook = Webhook()
    with serve(webhook.app) as url:
        yield webhook, f"{url}/"


def watched(url: str, *answers: ProtectionReport | WebuiUnreachable) -> tuple[list[ProtectionReport], list[str]]:
    """What is shown and said while these are the answers, one after the other."""
    shown: list[ProtectionReport] = []
    heard: list[str] = []
    coming = iter(answers)

    def check() -> ProtectionReport:
        answer = next(coming, None)
        if answer is None:
            raise Stopped
        if isinstance(answer, WebuiUnreachable):
            raise answer
        return answer

    with pytest.raises(Stopped):
        protection_watch.watch(check, shown.append, heard.append, 0, url)
    return shown, heard


def test_only_changes_are_shown_and_posted(webhook: tuple[Webhook, str]) -> None:
    hook, url = webhook
    good, same, bad = report(PathState.PROTECTED), report(PathState.PROTECTED, "other words"), report(PathState.OPEN)
    gone = WebuiUnreachable("It is gone.", "Start it.")
    shown, heard = watched(url, good, same, bad, bad, gone, gone, good)
    assert shown == [good, bad, good]
    assert len(heard) == 1
    assert [one["protected"] for one in hook.got] == [True, False, None, True]
    assert all(one["text"] for one in hook.got)
    assert hook.got[1]["paths"][0]["state"] == "open"


def test_a_change_that_the_webhook_did_not_get_is_posted_again(webhook: tuple[Webhook, str]) -> None:
    hook, url = webhook
    hook.refusals = 1
    bad = report(PathState.OPEN)
    shown, heard = watched(url, bad, bad, bad)
    assert shown == [bad]
    assert [one["protected"] for one in hook.got] == [False]
    assert "webhook" in heard[0]
