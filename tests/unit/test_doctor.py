"""`doctor` on real HTTP servers: right ones, without our plugins, other products, with a key, silent, absent."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from guard_server import cli
from guard_server.doctor.checks import CHECKS
from guard_server.doctor.examination import DoctorReport, Level, examine
from tests.stands.guards.stream_server import StreamServer, broken_server
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.guards.stub_stream import StubStream
from tests.stands.servers import free_port, serve
from tests.stands.waiting import PATIENCE

METRICS = 'vllm:cache_config_info{block_size="32",enable_prefix_caching="%s",engine="0"} 1.0\n'


def around(*routes: Route, metrics: str = METRICS % "True", version: str = "0.32.0") -> list[Route]:
    """vLLM's routes in addition to chat completions."""
    return [
        *routes,
        Route("/metrics", lambda request: PlainTextResponse(metrics)),
        Route("/version", lambda request: JSONResponse({"version": version})),
    ]


@contextmanager
def vllm(stub: StubGuard, *routes: Route, **said: str) -> Iterator[str]:
    with serve(Starlette(routes=[*stub.app.routes, *around(*routes, **said)])) as url:
        yield f"{url}/v1"


def diagnose(url: str, **options: Any) -> tuple[DoctorReport, dict[str, Level]]:
    report = asyncio.run(examine(url, **{"seconds": PATIENCE, **options}))
    assert [finding.check for finding in report.findings] == [check.name for check in CHECKS]
    for finding in report.findings:
        assert (finding.remedy is not None) is (finding.level in (Level.WARNING, Level.FAILURE)), finding
    return report, {finding.check: finding.level for finding in report.findings}


def found(report: DoctorReport, check: str) -> str:
    (finding,) = [finding for finding in report.findings if finding.check == check]
    return f"{finding.found} → {finding.remedy}"


def only(levels: dict[str, Level], level: Level) -> set[str]:
    return {check for check, its in levels.items() if its is level}


def test_verdicts_of_the_demo_guard_are_called_a_demonstration(stub: StubGuard) -> None:
    stub.model = "qwen3guard-demo"
    with vllm(stub) as url:
        report, levels = diagnose(url)
        shown = CliRunner().invoke(cli.app, ["doctor", "--guard-url", url], env={"COLUMNS": "200"})
    assert (report.healthy, report.demonstration) == (True, True)
    assert levels["model"] is Level.WARNING
    assert "These verdicts are a demonstration: do not rely on them. 3 warnings." in shown.output
    assert "can be relied on" not in shown.output


def test_a_guard_of_ours_is_healthy(stub: StubGuard) -> None:
    with vllm(stub) as url:
        report, levels = diagnose(url)
    assert (report.healthy, report.demonstration) == (True, False)
    assert report.model == "Qwen/Qwen3Guard-Gen-0.6B"
    assert only(levels, Level.WARNING) == {"stream endpoint", "moderations endpoint"}
    assert "not offered" in found(report, "stream endpoint")
    assert f"api --guard-url {url}" in found(report, "moderations endpoint")
    assert "10240 tokens" in found(report, "context")
    # Ten verdicts on new texts.
    assert len({text for text in stub.judged if text.startswith("Is ")}) == 10


def test_the_server_is_tried_with_and_without_the_key(stub: StubGuard) -> None:
    stub.key = "right"
    with vllm(stub) as url:
        right, levels = diagnose(url, key="right")
        assert (levels["key"], right.healthy) == (Level.OK, True)
        assert "needed, and this one is right" in found(right, "key")
        for key, says in (("wrong", "refuses this key"), (None, "refuses requests without a key")):
            report, levels = diagnose(url, key=key)
            assert not report.healthy
            assert only(levels, Level.FAILURE) == {"key"}
            assert says in found(report, "key")
            assert "--guard-key" in found(report, "key")
            assert len(only(levels, Level.NOT_CHECKED)) == len(CHECKS) - 2


def test_plain_vllm_is_slower_but_equally_right(stub: StubGuard) -> None:
    stub.prefill = False
    with vllm(stub) as url:
        report, levels = diagnose(url)
    assert report.healthy
    assert {"template", "one-token verdicts"} <= only(levels, Level.WARNING)
    assert "began with 'Safety'" in found(report, "template")
    assert "qwen3guard serve" in found(report, "template")


def test_what_a_server_other_than_vllm_does_not_report_is_a_warning(stub: StubGuard, guard_url: str) -> None:
    stub.prefill, stub.logprobs, stub.tokenize, stub.tells_limit, stub.strict_fields = False, False, False, False, True
    report, levels = diagnose(guard_url)
    assert report.healthy
    assert only(levels, Level.WARNING) >= {"context", "template", "prefix cache", "version of vLLM"}
    assert "4096 tokens are assumed" in found(report, "context")


def test_a_disabled_prefix_cache_and_an_old_vllm_are_reported(stub: StubGuard) -> None:
    with vllm(stub, metrics=METRICS % "False", version="0.10.2") as url:
        report, levels = diagnose(url)
    assert report.healthy
    assert {"prefix cache", "version of vLLM"} <= only(levels, Level.WARNING)
    assert "--no-enable-prefix-caching" in found(report, "prefix cache")
    assert "0.10.2" in found(report, "version of vLLM")


def test_a_model_that_is_no_guard_is_a_failure(stub: StubGuard) -> None:
    stub.nonsense = "Hello! How can I help you today?"
    with vllm(stub) as url:
        report, levels = diagnose(url)
    assert not report.healthy
    assert only(levels, Level.FAILURE) == {"model"}
    assert "'Hello! How can I help you today?'" in found(report, "model")
    assert "no verdict" in found(report, "model")


def test_a_guard_that_calls_everything_safe_is_a_failure(stub: StubGuard) -> None:
    stub.nonsense = "Safety: Safe\nCategories: None\nRefusal: No"
    with vllm(stub) as url:
        report, levels = diagnose(url)
    assert {"bomb prompt", "refusal"} <= only(levels, Level.FAILURE)
    assert "expected Unsafe, Violent; the guard says 'Safety: Safe / Categories: None" in found(report, "bomb prompt")
    assert not report.healthy


def test_a_model_that_the_server_does_not_have_is_a_failure(stub: StubGuard) -> None:
    error = {"error": {"message": "The model `other` does not exist.", "type": "NotFoundError", "code": 404}}
    missing = Route("/v1/chat/completions", lambda request: JSONResponse(error, 404), methods=["POST"])
    with serve(Starlette(routes=[missing, *stub.app.routes])) as url:
        report, levels = diagnose(f"{url}/v1", model="other")
    assert only(levels, Level.FAILURE) == {"model"}
    assert "The model `other` does not exist" in found(report, "model")
    assert "lists these models: Qwen/Qwen3Guard-Gen-0.6B" in found(report, "model")


@pytest.mark.parametrize(
    "reply",
    [
        lambda request: HTMLResponse("<html>Welcome</html>"),
        lambda request: JSONResponse([]),
        lambda request: JSONResponse({"data": None}),
        lambda request: PlainTextResponse("oops", 500),
        lambda request: JSONResponse({"detail": "Not Found"}, 404),
    ],
)
def test_another_kind_of_server_is_a_failure(reply: Callable[[Request], Response]) -> None:
    with serve(Starlette(routes=[Route("/{path:path}", reply, methods=["GET", "POST"])])) as url:
        report, levels = diagnose(url)
    assert only(levels, Level.FAILURE) == {"model"}
    assert f"Most servers want {url}/v1" in found(report, "model")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/v1", "127.0.0.1:{port}/v1", "http://a host/v1"])
def test_an_address_without_a_server_is_a_failure(url: str) -> None:
    report, levels = diagnose(url.format(port=free_port()))
    assert only(levels, Level.FAILURE) == {"reachable"}
    assert only(levels, Level.OK) == set()
    assert "cannot be reached" in found(report, "reachable")


def test_a_server_that_hangs_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        report, levels = diagnose(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", seconds=0.5)
    assert only(levels, Level.FAILURE) == {"reachable"}
    assert "no reply within 0.5 s" in found(report, "reachable")


def test_a_redirect_is_a_failure_that_names_its_address() -> None:
    moved = Route(
        "/v1/models", lambda request: Response("", 308, {"location": "https://guard.example/v1/models?key=x"})
    )
    with serve(Starlette(routes=[moved])) as url:
        report, levels = diagnose(f"{url}/v1")
    assert only(levels, Level.FAILURE) == {"model"}
    assert "redirects to https://guard.example/v1/models:" in found(report, "model")
    assert "--guard-url" in found(report, "model")


def test_a_key_that_the_server_quotes_is_not_shown(stub: StubGuard) -> None:
    def quote(request: Request) -> Response:
        return PlainTextResponse("x" * 90 + request.headers["authorization"], 500)

    with serve(
        Starlette(routes=[Route("/v1/models", stub._models), Route("/{path:path}", quote, methods=["GET", "POST"])])
    ) as url:
        report, _ = diagnose(f"{url}/v1", key="sk-a-secret-key")
    assert not report.healthy
    assert "sk-a" not in report.model_dump_json()


def test_a_guard_that_hangs_while_judging_is_a_failure(stub: StubGuard) -> None:
    stub.delay = PATIENCE
    with vllm(stub) as url:
        # Enough for all the others on a busy machine.
        report, levels = diagnose(url, seconds=6)
    assert only(levels, Level.FAILURE) == {"model"}
    assert "no reply within 6 s" in found(report, "model")


def test_a_slow_guard_is_a_warning(stub: StubGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard_server.doctor.speed_checks._SLOW_SECONDS", 0.05)
    stub.delay = 0.1
    with vllm(stub) as url:
        report, levels = diagnose(url)
    assert report.healthy
    assert levels["latency of ten verdicts"] is Level.WARNING


def test_working_and_broken_moderations_endpoints_are_detected(stub: StubGuard) -> None:
    good = Route("/v1/moderations", lambda request: JSONResponse({"results": [{"flagged": False}]}), methods=["POST"])
    with vllm(stub, good) as url:
        assert diagnose(url)[1]["moderations endpoint"] is Level.OK
    broken = Route("/v1/moderations", lambda request: PlainTextResponse("oops", 500), methods=["POST"])
    with vllm(stub, broken) as url:
        assert diagnose(url)[1]["moderations endpoint"] is Level.FAILURE


def test_a_stream_guard_is_examined_through_its_stream_endpoint() -> None:
    with serve(StreamServer(*around(), model=StubStream(unsafe="bomb")).app) as url:
        report, levels = diagnose(f"{url}/v1")
    assert report.healthy
    assert only(levels, Level.NOT_CHECKED) == {"template", "one-token verdicts", "moderations endpoint"}
    assert only(levels, Level.OK) >= {"model", "bomb prompt", "refusal", "latency of ten verdicts", "stream endpoint"}


def test_a_stream_guard_with_unusable_replies_is_a_failure() -> None:
    with serve(broken_server(["?"], *around())) as url:
        report, levels = diagnose(f"{url}/v1")
    assert only(levels, Level.FAILURE) == {"bomb prompt", "refusal", "latency of ten verdicts"}
    assert "/guard/stream gave no verdict" in found(report, "bomb prompt")


@pytest.mark.parametrize(
    ("status", "body", "level", "says"),
    [
        (200, {"data": []}, Level.FAILURE, "PIPELINES_API_KEY of your own"),
        (401, {"detail": "Invalid API key"}, Level.OK, "a key of its own"),
        (404, {"detail": "Not Found"}, Level.FAILURE, "this is no Pipelines server"),
    ],
)
def test_the_key_of_the_pipelines_server_is_checked_on_request(
    stub: StubGuard, status: int, body: Any, level: Level, says: str
) -> None:
    keys: list[str | None] = []

    async def pipelines(request: Request) -> Response:
        keys.append(request.headers.get("authorization"))
        return JSONResponse(body, status)

    with vllm(stub) as url, serve(Starlette(routes=[Route("/pipelines", pipelines)])) as address:
        report = asyncio.run(examine(url, seconds=PATIENCE, pipelines=address))
    finding = report.findings[-1]
    assert (finding.check, finding.level) == ("key of the Pipelines server", level)
    assert says in f"{finding.found} {finding.remedy}"
    assert keys == ["Bearer 0p3n-w3bu!"]


def test_an_unreachable_pipelines_server_is_reported(stub: StubGuard) -> None:
    with vllm(stub) as url:
        report = asyncio.run(examine(url, seconds=PATIENCE, pipelines=f"http://127.0.0.1:{free_port()}"))
    assert report.findings[-1].level is Level.FAILURE
    assert "cannot be reached" in report.findings[-1].found


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["doctor", *arguments], env={"COLUMNS": "200"})
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_the_command_reports_to_scripts_by_status_and_json(stub: StubGuard) -> None:
    with vllm(stub) as url:
        status, output = run("--guard-url", url, "--json")
    assert status == 0
    assert [finding["check"] for finding in json.loads(output)["findings"]] == [check.name for check in CHECKS]
    status, output = run("--guard-url", f"http://127.0.0.1:{free_port()}/v1", "--json")
    assert status == 1
    assert json.loads(output)["findings"][0]["level"] == "failure"


def test_the_command_reports_to_people_by_a_table_with_remedies(stub: StubGuard) -> None:
    stub.nonsense = "Safety: Safe\nCategories: None\nRefusal: Yes"
    with vllm(stub) as url:
        status, output = run("--guard-url", url)
    assert status == 1
    for words in ("bomb prompt", "FAILURE", "expected Unsafe, Violent", "→ ", "1 failure, "):
        assert words in output
