"""A stranger's way from nothing to protected and back, with both hosts, as docs/install.md says.

Each walk begins with a plain Open WebUI: two models, a preset, three users. It installs, asks the protection check,
sees a refusal, switches the filter off and is told so, upgrades while a program asks, and removes everything.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.stack.stack import UNSAFE_PROMPT
from demo.state import ROOT
from demo.webui_client.visitor import Visitor
from demo.webui_client.webui_api import WebuiApi
from guard_server.install.plugin_files import FUNCTION_FILTER, FUNCTION_MODELS, PIPELINES_FILTER, PIPELINES_MODELS
from moderation.probe import PROBE_ANSWER, PROBE_MARK
from tests.e2e.asking import Asking
from tests.e2e.chat_page import ChatPage
from tests.e2e.functions_page import FunctionsPage
from tests.e2e.install_command import InstallCommand
from tests.e2e.models_page import ModelsPage
from tests.e2e.plain_webui import OPEN, PRESET, TEAMS, PlainWebui
from tests.e2e.protection_check import AROUND, SEEN_BY_A_FILTER, Checked, check
from tests.e2e.screenshots import picture, terminal_picture
from tests.e2e.texts import EN, SEA_PROMPT, UNSAFE, UNSAFE_WORDS
from tests.stands.chats import CALM, user
from tests.stands.waiting import wait_until

REFUSED = EN["prompt_refused"]
UNANSWERED = "marmalade"
OpenPage = Callable[[WebuiApi], Page]


@pytest.fixture
def command(plain: PlainWebui, tmp_path: Path) -> Iterator[InstallCommand]:
    plain.guarded.settled()
    command = InstallCommand(plain, tmp_path)
    yield command
    # So that a test that failed leaves nothing to the next one.
    if command.record.exists():
        command.run("--uninstall")


def ask(plain: PlainWebui, model: str, prompt: str = UNSAFE_PROMPT) -> tuple[str, str]:
    """What the user reads: the answer, and the bar with an error."""
    seen = Visitor(plain.user, model).ask(prompt)
    return seen.text.strip(), seen.error


def see_a_refusal(plain: PlainWebui, page: Page) -> None:
    """A user opens a new chat with the model that has the name of the direct one, and reads the notice."""
    chat = ChatPage(page, plain.user)
    chat.open()
    expect(page.get_by_role("button", name=f"Selected model: {OPEN}", exact=True)).to_be_visible()
    chat.ask(UNSAFE_PROMPT)
    expect(chat.answers).to_have_text([REFUSED])


def probed(plain: PlainWebui) -> set[str]:
    """What the Functions' audit has of the check's own prompts and answers."""
    files = plain.stack.state.webui.rglob("*.jsonl")
    audit = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {record["direction"] for record in audit if record.get("probe")}


def make_older(plain: PlainWebui, plugin: str) -> None:
    """As if the version before this one was installed."""
    path = f"/api/v1/functions/id/{plugin}"
    now = plain.admin.get(path)
    form = {"id": plugin, "name": now["name"], "meta": now["meta"]}
    plain.admin.post(f"{path}/update", form | {"content": now["content"].replace("\nversion: ", "\nversion: 0.0.", 1)})


def upgrade(plain: PlainWebui, command: InstallCommand, model: str) -> str:
    """Upgrades while a program asks for an unsafe answer, which nobody sees before, during or after it."""
    plain.guarded.model.says(CALM + UNSAFE + CALM)
    with Asking(plain, model, SEA_PROMPT, UNSAFE_WORDS) as asking:
        said = command.run("--upgrade")
    assert asking.unjudged == []
    assert EN["answer_withheld"] in asking.last
    return said


@dataclass(frozen=True)
class Switch:
    """A filter's switch on a page of the admin, and what the check says when it is off."""

    page: FunctionsPage | ModelsPage
    filter: str
    found: str
    picture: str


def switched_off(plain: PlainWebui, browser: Browser, switch: Switch, token: Path) -> Checked:
    """What the check finds after the admin has switched the filter off."""
    switch.page.open()
    switch.page.switch(switch.filter, on=False)
    picture(switch.page.page, switch.picture)
    off = check(plain.stack, token)
    shown = "qwen3guard doctor --webui http://localhost:3000"
    terminal_picture(browser, shown, off.shown, f"{switch.picture}-check")
    assert (off.status, off.failed_settings()) == (1, {switch.filter: switch.found})
    assert {off.states(OPEN)[path] for path in (*SEEN_BY_A_FILTER, *AROUND)} == {"open"}
    return off


def test_guarded_models_as_functions_take_the_place_of_direct_models_and_give_it_back(
    plain: PlainWebui, command: InstallCommand, browser: Browser, open_page: OpenPage
) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    assert models == {OPEN, PRESET}
    plan = command.run("--dry-run")
    assert f"Close {OPEN} to users" in plan
    assert plain.objects() == before
    assert not command.record.exists()

    plain.guarded.model.says(PROBE_ANSWER)
    assert "Users are protected." in command.run("--check")
    terminal_picture(browser, "qwen3guard install --guard-url http://guard:8000/v1", command.shown, "install")
    entry, teams = f"{FUNCTION_MODELS}.{OPEN}", f"{FUNCTION_MODELS}.{TEAMS}"
    assert plain.models(plain.user) == {entry, PRESET}
    assert plain.models(plain.team) == {entry, teams, PRESET}
    assert plain.admin.get("/api/v1/configs/models")["DEFAULT_MODELS"] == entry
    assert plain.admin.get("/api/v1/tasks/config")["TASK_MODEL_EXTERNAL"] == entry
    page = open_page(plain.user)
    see_a_refusal(plain, page)
    picture(page, "install-refusal")
    assert ask(plain, PRESET)[0] == REFUSED
    plain.guarded.model.says(CALM)
    assert ask(plain, entry, SEA_PROMPT)[0] == CALM.strip()
    direct = plain.user.http.post("/openai/chat/completions", json={"model": OPEN, "messages": [user(SEA_PROMPT)]})
    assert direct.status_code in (400, 403)

    installed = plain.objects()
    assert "0 steps done" in command.run()
    assert plain.objects() == installed

    make_older(plain, FUNCTION_MODELS)
    assert "1 step done" in upgrade(plain, command, entry)
    assert (
        plain.objects()["/api/v1/functions/export"][0]["content"] == (ROOT / f"dist/{FUNCTION_MODELS}.py").read_text()
    )
    command.run("--uninstall")
    assert plain.objects() == before
    assert plain.models(plain.user) == models
    assert not command.record.exists()


def test_both_functions_judge_models_under_their_own_names_until_the_filter_is_switched_off(
    plain: PlainWebui, command: InstallCommand, browser: Browser, open_page: OpenPage, tmp_path: Path
) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    accounts = plain.admin.get("/api/v1/users/")["total"]
    command.run("--protect", "both")
    assert plain.models(plain.user) == models
    plain.guarded.model.says(PROBE_ANSWER)
    on = check(plain.stack, tmp_path / "token")
    assert (on.status, on.failed_settings()) == (1, {})
    (access,) = [one for one in on.report["settings"] if one["setting"] == "access to models"]
    assert (access["level"], access["found"].endswith(f"not asked: {TEAMS}")) == ("warning", True)
    direct, guarded = on.states(OPEN), on.states(f"{FUNCTION_MODELS}.{OPEN}")
    for states in (direct, guarded):
        assert {states[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}
    # No filter of Open WebUI sees these. It passes requests on to models of servers only.
    assert {direct[path] for path in AROUND} == {"open"}
    assert {guarded[path] for path in AROUND} == {"closed"}
    assert "reverse proxy" in on.why(OPEN, "/openai")
    assert plain.admin.get("/api/v1/users/")["total"] == accounts
    wait_until(lambda: probed(plain) >= {"prompt", "response"})
    assert PROBE_MARK not in str(plain.user.get("/api/v1/chats/", page=1))

    page = FunctionsPage(open_page(plain.admin), plain.admin)
    switch = Switch(page, FUNCTION_FILTER, "it is switched off", "function-switched-off")
    off = switched_off(plain, browser, switch, tmp_path / "token")
    # A guarded model writes the titles.
    assert off.states(OPEN)["title"] == "protected"
    guarded = off.states(f"{FUNCTION_MODELS}.{OPEN}")
    assert {guarded[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}
    page.switch(FUNCTION_FILTER, on=True)
    assert ask(plain, OPEN)[1] == REFUSED

    for plugin in (FUNCTION_MODELS, FUNCTION_FILTER):
        make_older(plain, plugin)
    assert "2 steps done" in upgrade(plain, command, OPEN)
    said = command.run("--host", "pipelines", status=1)
    assert "--host functions --protect both is installed here." in said
    command.run("--uninstall")
    assert plain.objects() == before


def test_guarded_models_in_a_pipelines_server_take_the_place_of_direct_connections(
    plain: PlainWebui, command: InstallCommand, open_page: OpenPage, tmp_path: Path
) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    plain.guarded.model.says(PROBE_ANSWER)
    assert "Users are protected." in command.run("--host", "pipelines", "--check")
    entry = f"{PIPELINES_MODELS}.{OPEN}"
    assert plain.models(plain.user) == {entry, PRESET}
    on = check(plain.stack, tmp_path / "token")
    assert (on.status, on.failed_settings()) == (0, {})
    for model in (entry, PRESET):
        states = on.states(model)
        assert {states[path] for path in (*SEEN_BY_A_FILTER, *AROUND, "title")} == {"protected"}
    see_a_refusal(plain, open_page(plain.user))
    assert ask(plain, PRESET)[0] == REFUSED
    upgrade(plain, command, entry)
    # As if the command had been stopped before its last step.
    config = plain.admin.get("/openai/config")
    config["OPENAI_API_CONFIGS"]["0"]["enable"] = True
    plain.admin.post("/openai/config/update", config)
    said = command.run()
    assert "Switch the direct connection" in said
    assert "1 step done" in said
    assert plain.models(plain.user) == {entry, PRESET}
    plain.guarded.stop_guard()
    try:
        without = check(plain.stack, tmp_path / "token")
    finally:
        plain.guarded.start_guard()
    assert without.status == 1
    assert {without.states(entry)[path] for path in (*SEEN_BY_A_FILTER, *AROUND)} == {"closed"}
    assert "no verdict" in without.why(entry, "API")
    command.run("--uninstall")
    assert plain.objects() == before
    assert plain.models(plain.user) == models


def test_the_filter_in_a_pipelines_server_judges_direct_models_until_it_is_switched_off_among_the_models(
    plain: PlainWebui, command: InstallCommand, browser: Browser, open_page: OpenPage, tmp_path: Path
) -> None:
    before = plain.objects()
    command.run("--host", "pipelines", "--protect", "filter")
    plain.guarded.model.says(PROBE_ANSWER)
    on = check(plain.stack, tmp_path / "token")
    assert (on.status, on.failed_settings()) == (1, {})
    states = on.states(OPEN)
    assert (states["chat page"], states["title"]) == ("protected", "protected")
    # The result of an outlet is ignored there, and no filter sees the rest.
    assert {states[path] for path in ("API", "API, streamed", "messages API", *AROUND)} == {"open"}

    page = ModelsPage(open_page(plain.admin), plain.admin)
    switch = Switch(page, PIPELINES_FILTER, "it is switched off among the models", "filter-switched-off")
    off = switched_off(plain, browser, switch, tmp_path / "token")
    assert off.states(OPEN)["title"] == "open"
    said = command.run()
    assert "Switch the filter on among the models\n" in said
    assert "1 step done" in said
    assert ask(plain, OPEN)[0] == REFUSED

    # This filter sees the prompts of programs, not their answers.
    plain.guarded.model.says(UNANSWERED)
    with Asking(plain, OPEN, UNSAFE_PROMPT, frozenset({UNANSWERED})) as asking:
        command.run("--upgrade")
    assert asking.unjudged == []
    assert REFUSED in asking.last
    assert PIPELINES_FILTER in {one["id"] for one in plain.objects()["pipelines"]}

    # While a filter is replaced, its models are off.
    def is_on() -> bool:
        config = plain.admin.get("/openai/config")["OPENAI_API_CONFIGS"]["0"]
        return config.get("enable") is not False

    command.kill("--upgrade", when=lambda: not is_on())
    assert not is_on()
    assert "which a run that was stopped has left off" in command.run()
    assert is_on()
    command.run("--uninstall")
    assert plain.objects() == before
