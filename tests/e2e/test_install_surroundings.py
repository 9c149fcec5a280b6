"""`qwen3guard install` and `doctor --webui` in surroundings that differ: servers, kinds of models, settings of admins.

The usual way is in the other tests of the two commands.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.stack.stack import UNSAFE_PROMPT
from demo.state import ROOT
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.visitor import Visitor
from guard_server import __version__
from guard_server.install.plugin_files import FUNCTION_FILTER, FUNCTION_MODELS, PIPELINES_FILTER, PIPELINES_MODELS
from guard_server.open_webui.records import EVERYBODY
from moderation.probe import PROBE_ANSWER
from tests.e2e.install_command import InstallCommand
from tests.e2e.plain_webui import OPEN, PRESET, PlainWebui
from tests.e2e.protection_check import AROUND, SEEN_BY_A_FILTER, Checked, check
from tests.e2e.texts import EN
from tests.stands.models.ollama_api import OllamaApi
from tests.stands.processes.pipelines_server import KEY, pipelines_server
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE, wait_until

REFUSED = EN["prompt_refused"]
LLAMA = "lab.llama:1b"
NOWHERE = "http://127.0.0.1:1"
PIPE = f"""
class Pipe:
    def pipes(self):
        return [{{"id": "now", "name": "Now"}}]

    async def pipe(self, body):
        return "{PROBE_ANSWER}"
"""


@pytest.fixture
def installer(plain: PlainWebui, tmp_path: Path) -> Iterator[InstallCommand]:
    plain.guarded.settled()
    plain.guarded.model.says(PROBE_ANSWER)
    installer = InstallCommand(plain, tmp_path, columns=300)
    yield installer
    # So that a test that failed leaves nothing to the next one.
    if installer.record.exists():
        installer.run("--uninstall")


@contextmanager
def setting(plain: PlainWebui, path: str, **values: Any) -> Iterator[None]:
    """Values of Open WebUI's settings of connections, for a while."""
    before = plain.admin.get(path)
    plain.admin.post(f"{path}/update", before | values)
    plain.admin.get("/api/models", refresh=True)
    try:
        yield
    finally:
        plain.admin.post(f"{path}/update", before)
        plain.admin.get("/api/models", refresh=True)


@pytest.fixture
def unconnected(plain: PlainWebui) -> Iterator[None]:
    """Open WebUI does not know the Pipelines server, which is the last connection."""
    config = plain.admin.get("/openai/config")
    lists = {name: config[name][:-1] for name in ("OPENAI_API_BASE_URLS", "OPENAI_API_KEYS")}
    with setting(plain, "/openai/config", **lists):
        yield


@contextmanager
def offered(plain: PlainWebui, model: str) -> Iterator[None]:
    """Everybody may use a model."""
    record: dict[str, Any] = {"id": model, "base_model_id": None, "name": model, "meta": {}, "params": {}}
    plain.admin.post("/api/v1/models/create", record | {"access_grants": [EVERYBODY]})
    try:
        yield
    finally:
        plain.admin.post("/api/v1/models/model/delete", {"id": model})


@pytest.fixture
def llama(plain: PlainWebui) -> Iterator[OllamaApi]:
    """A model of the second server of Ollama, whose models have a prefix; the first one is away."""
    own = OllamaApi("llama:1b")
    own.says(PROBE_ANSWER)
    with serve(own.app) as url:
        settings = {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": [NOWHERE, url]}
        configs = {"OLLAMA_API_CONFIGS": {"1": {"enable": True, "prefix_id": "lab"}}}
        with setting(plain, "/ollama/config", **settings, **configs), offered(plain, LLAMA):
            yield own


@pytest.fixture
def clock(plain: PlainWebui) -> Iterator[str]:
    """A model of somebody else's Function."""
    form = {"id": "clock", "name": "Clock", "content": PIPE, "meta": {"description": "-"}}
    plain.admin.post("/api/v1/functions/create", form)
    FunctionsHost(plain.admin).switch("clock", active=True)
    try:
        with offered(plain, "clock.now"):
            yield "clock.now"
    finally:
        plain.admin.delete("/api/v1/functions/id/clock/delete")


def judged_by(checked: Checked) -> list[str]:
    return [one["found"] for one in checked.report["settings"] if one["setting"] == "judged by"]


def ask(plain: PlainWebui, model: str) -> str:
    return Visitor(plain.user, model).ask(UNSAFE_PROMPT).text.strip()


@pytest.mark.usefixtures("unconnected")
def test_a_pipelines_server_that_is_not_connected_is_connected_and_taken_away_again(
    plain: PlainWebui, installer: InstallCommand, tmp_path: Path
) -> None:
    before, server = plain.objects(), plain.stack.pipelines
    both = ("--host", "pipelines", "--protect", "both")
    for options, key, says in [
        (both, server.key, "No Pipelines server is connected"),
        ((*both, "--pipelines", server.url), "", "key of the Pipelines server"),
        ((*both, "--pipelines", server.url), "wrong", "refuses its key"),
        ((*both, "--pipelines", NOWHERE), server.key, "cannot reach a Pipelines server"),
    ]:
        assert says in installer.run(*options, status=1, PIPELINES_API_KEY=key)
    installer.run(*both, "--pipelines", server.url, PIPELINES_API_KEY=server.key)
    assert plain.models(plain.user) == {OPEN, PRESET}
    assert ask(plain, OPEN) == REFUSED
    checked = check(plain.stack, tmp_path / "token")
    assert checked.failed_settings() == {}
    (told,) = judged_by(checked)
    assert f"Plugin {__version__}; its guard is" in told
    states = checked.states(OPEN)
    assert {states[path] for path in ("chat page", "API", "API, streamed", "title")} == {"protected"}
    assert "0 steps done" in installer.run()
    installer.run("--uninstall")
    assert plain.objects() == before


def test_all_workers_of_a_pipelines_server_are_set_up_alike_and_cleaned_up(
    plain: PlainWebui, installer: InstallCommand, tmp_path: Path
) -> None:
    """An upload, a deletion and a Save each reach one of them, by chance."""
    before = plain.objects()
    with pipelines_server("pipelines", tmp_path, workers=2) as server:
        options = ("--host", "pipelines", "--protect", "both", "--pipelines", server.url)
        installer.run(*options, PIPELINES_API_KEY=KEY)
        checked = check(plain.stack, tmp_path / "token")
        assert checked.failed_settings() == {}
        states = checked.states(OPEN)
        assert {states[path] for path in ("chat page", "API", "API, streamed", "title")} == {"protected"}
        assert "0 steps done" in installer.run("--pipelines", server.url)
        installer.run("--uninstall")
        assert plain.objects() == before
        # Each request on a connection of its own.
        headers = {"Authorization": f"Bearer {KEY}"}
        listed = [
            httpx.get(f"{server.url}/models", headers=headers, timeout=PATIENCE, trust_env=False).json()
            for _ in range(16)
        ]
    assert [one["data"] for one in listed] == [[]] * 16


def test_models_of_ollama_and_of_another_plugin_are_guarded_by_functions(
    plain: PlainWebui, installer: InstallCommand, tmp_path: Path, llama: OllamaApi, clock: str
) -> None:
    before = plain.objects()
    plain.admin.get("/api/models", refresh=True)
    installer.run()
    guarded = [f"{FUNCTION_MODELS}.{model}" for model in (OPEN, LLAMA, clock)]
    assert plain.models(plain.user) == {*guarded, PRESET}
    checked = check(plain.stack, tmp_path / "token")
    assert (checked.status, checked.failed_settings()) == (0, {})
    for model in guarded:
        states = checked.states(model)
        assert {states[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}, model
    # The only way that goes to Ollama past all plugins.
    assert checked.states(LLAMA)["/ollama"] == "closed"
    installer.run("--uninstall")
    assert plain.objects() == before


def test_models_of_ollama_are_guarded_by_a_pipelines_server_and_those_of_another_plugin_are_not(
    plain: PlainWebui, installer: InstallCommand, tmp_path: Path, llama: OllamaApi, clock: str
) -> None:
    before = plain.objects()
    plain.admin.get("/api/models", refresh=True)
    assert f"models of other plugins: {clock}." in installer.run("--host", "pipelines", status=1)
    plain.admin.post("/api/v1/models/model/access/update", {"id": clock, "access_grants": []})
    closed = plain.objects()
    said = installer.run("--host", "pipelines", "--protect", "both", status=1)
    assert f"of its first connection only: not {LLAMA}." in said
    assert plain.objects() == closed
    installer.run("--host", "pipelines")
    # The third server of models; without the prefix that Open WebUI puts before its ids.
    model = f"{PIPELINES_MODELS}.llama:1b~~3"
    assert plain.models(plain.user) == {f"{PIPELINES_MODELS}.{OPEN}", model, PRESET}
    checked = check(plain.stack, tmp_path / "token")
    assert (checked.status, checked.failed_settings()) == (0, {})
    states = checked.states(model)
    assert {states[path] for path in (*SEEN_BY_A_FILTER, *AROUND, "title")} == {"protected"}
    installer.run("--uninstall")
    assert plain.objects() == closed
    plain.admin.post("/api/v1/models/model/access/update", {"id": clock, "access_grants": [EVERYBODY]})
    assert plain.objects() == before


class SwitchingWebhook:
    """Takes the reports of the watch. Before it answers, it switches the filter: no check sees a half-done change."""

    def __init__(self, plain: PlainWebui) -> None:
        self.functions = FunctionsHost(plain.admin)
        self.got: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self.got.append(await request.json())
        if len(self.got) < 3:
            await asyncio.to_thread(self.functions.switch, FUNCTION_FILTER, active=len(self.got) == 2)
        return JSONResponse({})


def test_the_watch_reports_each_change_once_also_that_all_is_well_again(
    plain: PlainWebui, installer: InstallCommand, tmp_path: Path
) -> None:
    installer.run("--protect", "both")
    accounts = plain.admin.get("/api/v1/users/")["total"]
    (tmp_path / "admin").write_text(plain.admin.token)
    (tmp_path / "user").write_text(f"{plain.user.token}\n")
    webhook = SwitchingWebhook(plain)
    arguments = [sys.executable, "-m", "guard_server", "doctor", "--webui", plain.stack.webui_url, "--json"]
    arguments += ["--token-file", str(tmp_path / "admin"), "--user-token-file", str(tmp_path / "user")]
    with serve(webhook.app) as url, (tmp_path / "reports").open("w+") as reports:
        watch = subprocess.Popen([*arguments, "--watch", "1", "--webhook", url], cwd=ROOT, stdout=reports)
        try:
            wait_until(lambda: len(webhook.got) == 3 or watch.poll() is not None)
        finally:
            watch.terminate()
            watch.wait()
        reports.seek(0)
        printed = reports.read()
    on, off, again = [Checked(0, report) for report in webhook.got]
    for report in (on, again):
        assert report.failed_settings() == {}
        assert {report.states(OPEN)[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}
    assert off.failed_settings() == {FUNCTION_FILTER: "it is switched off"}
    assert {off.states(OPEN)[path] for path in SEEN_BY_A_FILTER} == {"open"}
    # The user's own token makes no account.
    assert plain.admin.get("/api/v1/users/")["total"] == accounts
    assert printed.count('"settings"') == 3
    assert plain.admin.token not in printed
    installer.run("--uninstall")


def test_a_prefix_or_a_list_of_ids_on_the_connection_is_found_and_stops_an_installation(
    plain: PlainWebui, installer: InstallCommand, tmp_path: Path
) -> None:
    installer.run("--host", "pipelines", "--protect", "filter")
    url = plain.stack.pipelines.url
    config = plain.admin.get("/openai/config")
    place = str(config["OPENAI_API_BASE_URLS"].index(url))
    for settings, says in [
        ({"prefix_id": "x"}, "has a prefix"),
        ({"model_ids": [PIPELINES_FILTER]}, "has a list of model ids"),
        ({"enable": False}, "is switched off"),
    ]:
        configs = config["OPENAI_API_CONFIGS"] | {place: settings}
        with setting(plain, "/openai/config", OPENAI_API_CONFIGS=configs):
            checked = check(plain.stack, tmp_path / "token")
            assert checked.status == 1
            assert checked.failed_settings() != {}
            assert checked.states(OPEN)["chat page"] != "protected"
            assert says in installer.run("--pipelines", url, status=1)
    assert check(plain.stack, tmp_path / "token").failed_settings() == {}
    installer.run("--uninstall")


@pytest.mark.parametrize("host", ["functions", "pipelines"])
def test_a_guard_that_gives_no_verdict_is_said_before_anything_is_taken_from_users(
    plain: PlainWebui, installer: InstallCommand, host: str
) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    with serve(plain.guarded.model.app) as no_guard:
        said = installer.run("--host", host, "--guard-url", f"{no_guard}/v1", status=1)
    assert "The plugin gets no verdict: " in said
    assert "Nothing was taken from users." in said
    assert plain.models(plain.user) == models
    # With an address that works, the same command goes on.
    installer.run("--host", host)
    assert plain.models(plain.user).isdisjoint({OPEN})
    installer.run("--uninstall")
    assert plain.objects() == before


def test_a_restricted_api_key_and_a_record_that_cannot_be_written_stop_before_any_change(
    plain: PlainWebui, installer: InstallCommand
) -> None:
    before, path = plain.objects(), "/api/v1/auths/admin/config"
    usual = plain.admin.get(path)
    free = usual | {"ENABLE_API_KEYS": True, "ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS": False}
    plain.admin.post(path, free)
    try:
        key = plain.admin.post("/api/v1/auths/api_key", {})["api_key"]
        restricted = {"ENABLE_API_KEYS_ENDPOINT_RESTRICTIONS": True, "API_KEYS_ALLOWED_ENDPOINTS": "/api/v1/chats"}
        plain.admin.post(path, free | restricted)
        said = installer.run(status=1, OPEN_WEBUI_TOKEN=key)
        assert "does not let this token in" in said
        assert "without restricted endpoints" in said
        plain.admin.post(path, free)
        assert "The plan. Nothing was changed." in installer.run("--dry-run", OPEN_WEBUI_TOKEN=key)
        said = installer.run("--record", "/proc/record.json", status=1, OPEN_WEBUI_TOKEN=key)
        assert "The record /proc/record.json cannot be written" in said
        assert plain.objects() == before
    finally:
        plain.admin.post(path, usual)
