"""`qwen3guard install` on the real Open WebUI and the real Pipelines server, as docs/install.md says."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack.stack import UNSAFE_PROMPT
from demo.state import ROOT
from demo.webui_client.visitor import Visitor
from guard_server.install.plugin_files import FUNCTION_FILTER, FUNCTION_MODELS, PIPELINES_FILTER, PIPELINES_MODELS
from tests.e2e.guarded_stack import UPSTREAM_KEY
from tests.e2e.plain_webui import OPEN, PRESET, TEAMS, PlainWebui
from tests.e2e.texts import EN, SEA_PROMPT, UNSAFE, UNSAFE_WORDS
from tests.stands.chats import CALM, user
from tests.stands.waiting import PATIENCE, wait_until

REFUSED = EN["prompt_refused"]
UNANSWERED = "marmalade"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainWebui]:
    with PlainWebui.running(tmp_path_factory.mktemp("plain")) as plain:
        yield plain


class Command:
    """The command in a process of its own, as an admin runs it."""

    def __init__(self, plain: PlainWebui, folder: Path) -> None:
        self.plain = plain
        self.record = folder / "record.json"

    def run(self, *options: str, status: int = 0) -> str:
        arguments = [sys.executable, "-m", "guard_server", "install", "--webui", self.plain.stack.webui_url]
        arguments += ["--record", str(self.record), "--guard-url", self.plain.stack.guard_url]
        arguments += ["--no-check", *options]
        environment = {**os.environ, "OPEN_WEBUI_TOKEN": self.plain.admin.token, "GUARD_API_KEY": "sk-guard-secret"}
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        for secret in (self.plain.admin.token, "sk-guard-secret", UPSTREAM_KEY, self.plain.stack.pipelines.key):
            assert secret not in said
            assert not self.record.exists() or secret not in self.record.read_text()
        return said


@pytest.fixture
def command(plain: PlainWebui, tmp_path: Path) -> Iterator[Command]:
    plain.guarded.as_new()
    command = Command(plain, tmp_path)
    yield command
    # So that a test that failed leaves nothing to the next one.
    if command.record.exists():
        command.run("--uninstall")


class Asking:
    """A program that asks a model every 200 ms, until the block ends. `unjudged` are answers that hold such words."""

    def __init__(
        self, plain: PlainWebui, model: str, prompt: str = SEA_PROMPT, unsafe: frozenset[str] = UNSAFE_WORDS
    ) -> None:
        self.plain, self.model, self.prompt, self.unsafe = plain, model, prompt, unsafe
        self.answers: list[str] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asking":
        self._thread.start()
        wait_until(lambda: self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        # The second answer from now on was asked for after the block.
        enough = len(self.answers) + 2
        try:
            wait_until(lambda: len(self.answers) >= enough)
        finally:
            self._ends.set()
            self._thread.join()

    def _ask(self) -> None:
        while not self._ends.is_set():
            body = {"model": self.model, "messages": [user(self.prompt)], "stream": True}
            self.answers.append(self.plain.user.http.post("/api/chat/completions", json=body).text.lower())
            self._ends.wait(0.2)

    @property
    def unjudged(self) -> list[str]:
        return [answer for answer in self.answers if any(word in answer for word in self.unsafe)]


def ask(plain: PlainWebui, model: str, prompt: str = UNSAFE_PROMPT) -> tuple[str, str]:
    """What the user reads: the answer, and the bar with an error."""
    seen = Visitor(plain.user, model).ask(prompt)
    return seen.text.strip(), seen.error


def make_older(plain: PlainWebui, plugin: str) -> None:
    """As if the version before this one was installed."""
    path = f"/api/v1/functions/id/{plugin}"
    now = plain.admin.get(path)
    form = {"id": plugin, "name": now["name"], "meta": now["meta"]}
    plain.admin.post(f"{path}/update", form | {"content": now["content"].replace("\nversion: ", "\nversion: 0.0.", 1)})


def test_guarded_models_as_functions_take_the_place_of_direct_models_and_give_it_back(
    plain: PlainWebui, command: Command
) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    assert models == {OPEN, PRESET}
    plan = command.run("--dry-run")
    assert f"Close {OPEN} to users" in plan
    assert plain.objects() == before
    assert not command.record.exists()

    command.run()
    entry, teams = f"{FUNCTION_MODELS}.{OPEN}", f"{FUNCTION_MODELS}.{TEAMS}"
    assert plain.models(plain.user) == {entry, PRESET}
    assert plain.models(plain.team) == {entry, teams, PRESET}
    assert plain.admin.get("/api/v1/configs/models")["DEFAULT_MODELS"] == entry
    assert plain.admin.get("/api/v1/tasks/config")["TASK_MODEL_EXTERNAL"] == entry
    for model in (entry, PRESET):
        assert ask(plain, model)[0] == REFUSED
    plain.guarded.model.says(CALM)
    assert ask(plain, entry, SEA_PROMPT)[0] == CALM.strip()
    direct = plain.user.http.post("/openai/chat/completions", json={"model": OPEN, "messages": [user(SEA_PROMPT)]})
    assert direct.status_code in (400, 403)

    installed = plain.objects()
    assert "0 steps done" in command.run()
    assert plain.objects() == installed

    make_older(plain, FUNCTION_MODELS)
    plain.guarded.model.says(CALM + UNSAFE + CALM)
    with Asking(plain, entry) as asking:
        assert "1 steps done" in command.run("--upgrade")
    assert (
        plain.objects()["/api/v1/functions/export"][0]["content"] == (ROOT / f"dist/{FUNCTION_MODELS}.py").read_text()
    )
    assert asking.unjudged == []

    assert "Users are protected." in command.run("--check")
    command.run("--uninstall")
    assert plain.objects() == before
    assert plain.models(plain.user) == models
    assert not command.record.exists()


def test_both_functions_judge_models_under_their_own_names(plain: PlainWebui, command: Command) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    command.run("--protect", "both")
    assert plain.models(plain.user) == models
    assert ask(plain, OPEN)[1] == REFUSED
    plain.guarded.model.says(CALM + UNSAFE + CALM)
    with Asking(plain, OPEN) as asking:
        for plugin in (FUNCTION_MODELS, FUNCTION_FILTER):
            make_older(plain, plugin)
        assert "2 steps done" in command.run("--upgrade")
    assert asking.unjudged == []
    said = command.run("--host", "pipelines", status=1)
    assert "--host functions --protect both is installed here." in said
    command.run("--uninstall")
    assert plain.objects() == before


def test_guarded_models_in_a_pipelines_server_take_the_place_of_direct_connections(
    plain: PlainWebui, command: Command
) -> None:
    before, models = plain.objects(), plain.models(plain.user)
    command.run("--host", "pipelines")
    entry = f"{PIPELINES_MODELS}.{OPEN}"
    assert plain.models(plain.user) == {entry, PRESET}
    for model in (entry, PRESET):
        assert ask(plain, model)[0] == REFUSED
    plain.guarded.model.says(CALM + UNSAFE + CALM)
    with Asking(plain, entry) as asking:
        command.run("--upgrade")
    assert asking.unjudged == []
    command.run("--uninstall")
    assert plain.objects() == before
    assert plain.models(plain.user) == models


def test_the_filter_in_a_pipelines_server_judges_direct_models_also_while_it_is_upgraded(
    plain: PlainWebui, command: Command
) -> None:
    before = plain.objects()
    command.run("--host", "pipelines", "--protect", "filter")
    assert ask(plain, OPEN)[0] == REFUSED
    # This filter sees the prompts of programs, not their answers.
    plain.guarded.model.says(UNANSWERED)
    with Asking(plain, OPEN, UNSAFE_PROMPT, frozenset({UNANSWERED})) as asking:
        command.run("--upgrade")
    assert asking.unjudged == []
    assert PIPELINES_FILTER in {one["id"] for one in plain.objects()["pipelines"]}
    command.run("--uninstall")
    assert plain.objects() == before
