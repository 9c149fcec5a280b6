"""`qwen3guard install`: what goes wrong, and what is left then.

The real programs are in tests/e2e/test_strangers_walk.py.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route
from typer.testing import CliRunner

from functions.answers.guarded_route import check_model
from guard_server import cli
from guard_server.errors import CannotInstall, RecordUnusable
from guard_server.install import installation, pipelines_plan
from guard_server.install import steps as setup_steps
from guard_server.install.functions_plan import _HIDDEN_ENTRY
from guard_server.install.kept_place import place_of
from guard_server.install.model_servers import (
    SERVER_VALVES,
    ModelServer,
    direct_servers,
    guarded_id,
    joined,
    known_servers,
)
from guard_server.install.options import HostKind, Options, Protect
from guard_server.install.pipelines_plan import _FILTER_NAME, _REFUSAL_ENTRY
from guard_server.install.plugin_files import (
    FUNCTION_FILTER,
    FUNCTION_MODELS,
    PIPELINES_FILTER,
    PIPELINES_MODELS,
    plugin_file,
)
from guard_server.install.setting_places import ConnectionSwitch, PipelinesConnection
from guard_server.install.steps import PutSecret, SetupStep
from guard_server.install.undo_record import UndoRecord, default_path
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import EVERYBODY, ModelRecord, PipelinesServer, WebuiConnection, WebuiModel
from guard_server.open_webui.survey import Survey
from moderation.probe import ADMINS_ONLY
from pipelines.service import ModelsValves
from pipelines.upstreams.model_ids import REFUSAL_ENTRY, encoded
from tests.stands.admin_api import TOKEN, AdminApi
from tests.stands.servers import free_port, serve

GUARD = "http://guard:8000/v1"


@pytest.fixture
def api() -> AdminApi:
    return AdminApi()


class Installing:
    """The command, with an admin's token, against a stand-in."""

    def __init__(self, api: AdminApi, url: str, folder: Path) -> None:
        self.api, self.path = api, folder / "record.json"
        self.client = WebuiClient(url, TOKEN)
        self.said: list[str] = []

    def install(self, protect: Protect = Protect.MODELS, *, dry_run: bool = False, **more: Any) -> None:
        options = Options(HostKind.FUNCTIONS, protect, GUARD, "sk-guard-secret", **more)
        record = UndoRecord(self.path, self.client.url)
        installation.install(self.client, options, record, self.said.append, dry_run=dry_run)

    def uninstall(self) -> bool:
        return installation.uninstall(self.client, UndoRecord(self.path, self.client.url), self.said.append)


@pytest.fixture
def installing(api: AdminApi, tmp_path: Path) -> Iterator[Installing]:
    with serve(api.app) as url:
        installing = Installing(api, url, tmp_path)
        with installing.client:
            yield installing


@pytest.mark.parametrize(("protect", "lost"), [*((protect, False) for protect in Protect), (Protect.MODELS, True)])
def test_an_installation_that_fails_at_any_change_can_be_continued_and_undone(
    installing: Installing, protect: Protect, lost: bool
) -> None:
    """`lost`: the change is made, but the command does not hear of it."""
    api = installing.api
    api.fails_late = lost
    before = api.state()
    installing.install(protect)
    wanted, changes = api.state(), api.changes
    assert installing.uninstall()
    assert api.state() == before
    for number in range(1, changes + 1):
        api.changes, api.fails_at = 0, number
        with pytest.raises(CannotInstall, match="database is locked"):
            installing.install(protect)
        api.fails_at = 0
        # Every second one is continued: each step is between two of them.
        if number % 2:
            installing.install(protect)
            assert api.state() == wanted, number
        assert installing.uninstall()
        assert api.state() == before, number
        assert not installing.path.exists()


@pytest.mark.parametrize("protect", Protect)
def test_users_have_a_model_after_every_single_change(installing: Installing, protect: Protect) -> None:
    api, seen = installing.api, []
    api.after_change = lambda: seen.append((api.offered(), api.functions.get(FUNCTION_FILTER, {})))
    installing.install(protect)
    models = api.offered()
    assert installing.uninstall()
    assert len(seen) > 5
    assert all("preset" in offered and len(offered) > 1 for offered, _ in seen)
    assert models == ({f"{FUNCTION_MODELS}.open", "preset"} if protect is Protect.MODELS else {"open", "preset"})
    # A filter that is on has its guard's address, and is on for all models.
    on = [function for _, function in seen if function.get("is_active")]
    assert all(one["valves"].get("guard_base_url") == GUARD and one["is_global"] for one in on)


def test_what_an_admin_changed_since_is_left_as_it_is(installing: Installing) -> None:
    api = installing.api
    installing.install()
    api.settings["models"]["DEFAULT_MODELS"] = "preset"
    assert not installing.uninstall()
    assert api.settings["models"]["DEFAULT_MODELS"] == "preset"
    assert any("DEFAULT_MODELS: it was changed since" in line for line in installing.said)
    assert api.records["open"]["access_grants"]


def test_the_system_prompt_of_a_direct_model_is_not_put_twice(installing: Installing) -> None:
    installing.install()
    assert installing.api.records[f"{FUNCTION_MODELS}.open"]["params"] == {"temperature": 0.5}


def test_nobody_can_be_given_a_model_that_was_closed(installing: Installing) -> None:
    installing.install()
    assert f"{FUNCTION_MODELS}.closed" not in installing.api.records


def test_a_plan_changes_nothing(installing: Installing) -> None:
    before = installing.api.state()
    installing.install(dry_run=True)
    assert installing.api.state() == before
    assert not installing.path.exists()
    assert any("Close open to users" in line for line in installing.said)


def test_a_model_of_a_function_is_closed_by_taking_away_its_entry_and_keeps_its_system_prompt(
    installing: Installing,
) -> None:
    api = installing.api
    api.functions["clock"] = {"id": "clock", "name": "Clock", "type": "pipe", "is_active": True, "is_global": False}
    api.functions["clock"] |= {"content": "class Pipe: ...", "valves": {}, "meta": {}}
    api.records["clock.open"] = api.records["open"] | {"id": "clock.open", "name": "Clock"}
    before = api.state()
    installing.install()
    assert "clock.open" not in api.records
    assert api.records[f"{FUNCTION_MODELS}.clock.open"]["params"]["system"] == "Be kind."
    assert installing.uninstall()
    assert api.state() == before


def test_another_way_to_protect_asks_to_undo_the_first(installing: Installing) -> None:
    installing.install(Protect.FILTER)
    with pytest.raises(CannotInstall, match="--protect filter is installed here"):
        installing.install(Protect.MODELS)


def test_an_older_file_stays_until_an_upgrade(installing: Installing) -> None:
    installing.install(Protect.FILTER)
    function = installing.api.functions[FUNCTION_FILTER]
    function["content"] = "class Filter: ..."
    installing.install(Protect.FILTER)
    assert installing.api.functions[FUNCTION_FILTER]["content"] == "class Filter: ..."
    installing.install(Protect.FILTER, upgrade=True)
    assert installing.api.functions[FUNCTION_FILTER]["content"] == plugin_file(FUNCTION_FILTER).text
    assert installing.api.functions[FUNCTION_FILTER]["is_active"]


@dataclass(frozen=True)
class Closing:
    """A step that is done while connections are off, as the replacement of a filter."""

    during: Callable[[], None]
    closing: tuple[ConnectionSwitch, ...]
    title: str = "Replace it"
    place: None = None

    def is_done(self, client: WebuiClient) -> bool:
        return False

    def do(self, client: WebuiClient) -> None:
        self.during()


class Killed(BaseException):
    """What the record says at this moment is all that is left of the run."""


def test_a_run_that_was_killed_while_connections_were_off_leaves_none_of_them_off(installing: Installing) -> None:
    installing.api.settings["openai"]["OPENAI_API_CONFIGS"] = {"0": {"enable": True}}
    before = installing.api.state()
    installing.install(Protect.FILTER)
    api, wanted, said = installing.api, installing.api.state(), installing.said
    switch = ConnectionSwitch("http://models/v1")
    settled = installing.path.read_text()
    left: list[str] = []

    def during() -> None:
        assert switch.read(installing.client) is False
        left.append(installing.path.read_text())
        raise Killed

    record = UndoRecord(installing.path, installing.client.url)
    with pytest.raises(Killed):
        setup_steps.carry_out(installing.client, [Closing(during, (switch,))], record, said.append)
    # Such an end puts them back; `kill -9` does not.
    assert (api.state(), installing.path.read_text()) == (wanted, settled)

    def kill() -> None:
        installing.path.write_text(left[0])
        switch.write(installing.client, False)

    kill()
    closed = api.state()
    installing.install(Protect.FILTER, dry_run=True)
    assert f"To put back: {switch}, which a run that was stopped has left off" in said
    assert (api.state(), installing.path.read_text()) == (closed, left[0])
    installing.install(Protect.FILTER)
    assert (api.state(), installing.path.read_text()) == (wanted, settled)
    kill()
    assert installing.uninstall()
    assert api.state() == before


def test_a_plugin_is_asked_for_a_verdict_once_in_each_run_and_never_for_a_plan(
    installing: Installing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_steps, "_VERDICT_SECONDS", 0)
    api = installing.api
    installing.install(dry_run=True)
    assert api.asked == []
    # An older plugin says nothing about itself.
    installing.install(Protect.FILTER)
    installing.install(Protect.FILTER)
    assert api.asked == ["open"] * 2
    assert installing.said[-1].startswith("0 steps done")
    api.answer = f"It was not checked.\n\n{ADMINS_ONLY} the guard refuses its key."
    with pytest.raises(CannotInstall, match="gets no verdict: the guard refuses its key"):
        installing.install(Protect.FILTER)


def test_a_preset_keeps_what_the_list_of_presets_leaves_out(installing: Installing) -> None:
    api = installing.api
    api.records["preset"]["meta"]["background_image_url"] = "/api/v1/files/1/content"
    before = api.state()
    installing.install()
    assert api.records["preset"]["base_model_id"] == f"{FUNCTION_MODELS}.open"
    assert api.records["preset"]["meta"]["background_image_url"] == "/api/v1/files/1/content"
    assert installing.uninstall()
    assert api.state() == before


def test_no_model_is_saved_without_the_settings_that_an_admin_may_not_see(installing: Installing) -> None:
    installing.api.may_write = False
    with pytest.raises(CannotInstall, match="may not change the model"):
        installing.install()
    assert installing.api.records["preset"]["base_model_id"] == "open"
    assert installing.api.records["open"]["params"]


def test_hundreds_of_models_are_not_listed_hundreds_of_times(api: AdminApi, tmp_path: Path) -> None:
    def lists(folder: Path) -> int:
        folder.mkdir()
        with serve(api.app) as url:
            installing = Installing(api, url, folder)
            with installing.client:
                installing.install()
                assert installing.uninstall()
        return api.requests.pop("/api/v1/models/export") + api.requests.pop("/api/v1/models/base")

    few = lists(tmp_path / "few")
    for number in range(30):
        api.records[f"team/model:{number}%20ü"] = api.records["open"] | {"id": f"team/model:{number}%20ü"}
    assert lists(tmp_path / "many") == few
    assert api.records["team/model:7%20ü"]["access_grants"]


def test_nothing_is_promised_of_what_was_here_before(installing: Installing, tmp_path: Path) -> None:
    api = installing.api
    before = api.state()
    installing.install()
    installed, first = api.state(), installing.path
    # As from another machine.
    installing.path = tmp_path / "elsewhere.json"
    installing.install()
    assert "puts nothing back" in installing.said[-2]
    with pytest.raises(RecordUnusable, match="nothing to put back"):
        installing.uninstall()
    assert api.state() == installed
    assert not installing.path.exists()
    installing.path = first
    assert installing.uninstall()
    assert api.state() == before


def test_a_preset_that_was_built_on_a_guarded_model_since_is_named_when_that_is_gone(installing: Installing) -> None:
    installing.install()
    base = f"{FUNCTION_MODELS}.open"
    installing.api.records["later"] = installing.api.records["preset"] | {"id": "later", "base_model_id": base}
    assert not installing.uninstall()
    assert any(f"the preset later: its base {base} is gone" in line for line in installing.said)
    assert installing.api.records["preset"]["base_model_id"] == "open"


def test_an_open_webui_in_which_no_model_is_open_to_users_is_told_what_to_open(installing: Installing) -> None:
    installing.install(dry_run=True)
    assert not any("No model is open" in line or "not listed now" in line for line in installing.said)
    # Its server is away.
    installing.api.records = {"away": installing.api.records["open"] | {"id": "away"}}
    installing.install()
    assert any("No model is open to users" in line for line in installing.said)
    assert any("not listed now, so not moved: away." in line for line in installing.said)


@pytest.mark.parametrize("model", ["open", "preset"])
def test_model_controls_which_no_function_may_have_are_said_before_any_change(
    installing: Installing, model: str
) -> None:
    api = installing.api
    api.records[model]["params"] = {"model_controls": {"reasoning_effort": {}}}
    before = api.state()
    with pytest.raises(CannotInstall, match=f"cannot have model controls, as these have: {model}"):
        installing.install()
    assert api.state() == before
    installing.install(Protect.BOTH)
    assert "model_controls" not in api.records[f"{FUNCTION_MODELS}.open"]["params"]
    assert "model_controls" in api.records[model]["params"]


def test_a_proxy_that_asks_for_a_sign_in_in_between_is_a_cause_with_a_way_to_go_on(installing: Installing) -> None:
    api = installing.api
    before = api.state()
    api.fails_at, api.failure = 3, PlainTextResponse("<html>")
    with pytest.raises(CannotInstall, match="not JSON") as raised:
        installing.install()
    assert str(installing.path) in raised.value.remedy
    assert installing.uninstall()
    assert api.state() == before


@pytest.mark.parametrize("status", [401, 502])
def test_a_guard_that_open_webui_cannot_reach_is_said_before_any_change(installing: Installing, status: int) -> None:
    installing.api.guard_status = status
    before = installing.api.state()
    with pytest.raises(CannotInstall) as raised:
        installing.install()
    assert GUARD in raised.value.cause
    assert installing.api.state() == before


def test_no_record_holds_a_key_and_a_foreign_one_is_refused(installing: Installing, tmp_path: Path) -> None:
    installing.install(Protect.BOTH)
    text = installing.path.read_text()
    for secret in (TOKEN, "sk-guard-secret", "sk-upstream-secret"):
        assert secret not in text
    assert installing.path.stat().st_mode & 0o077 == 0
    with pytest.raises(RecordUnusable, match="is the record of"):
        UndoRecord(installing.path, "http://elsewhere")
    later = json.loads(text)
    later["entries"][0]["place"] |= {"kind": "tool"}
    for content, says in [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (json.dumps(later).encode(), "does not know"),
        (text.replace('"plugin"', '"name"').encode(), "does not know"),
        (text.replace('"functions"', '"elsewhere"').encode(), "cannot be read"),
    ]:
        (tmp_path / "broken.json").write_bytes(content)
        with pytest.raises(RecordUnusable, match=says):
            UndoRecord(tmp_path / "broken.json", installing.client.url)


def test_an_account_without_a_home_is_asked_for_the_file_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        # As of a user id of a container that no file knows.
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(RecordUnusable) as raised:
        default_path("http://localhost:3000")
    assert "--record" in raised.value.remedy


@given(st.text(min_size=1, max_size=50), st.integers(1, 20))
def test_ids_and_names_are_those_of_the_plugins(model: str, place: int) -> None:
    assert guarded_id(model, place) == f"{PIPELINES_MODELS}.{encoded(model, place)}"
    assert f"{PIPELINES_MODELS}.{REFUSAL_ENTRY}" == _REFUSAL_ENTRY
    assert check_model(FUNCTION_MODELS) == _HIDDEN_ENTRY
    assert f'"{_FILTER_NAME}"' in plugin_file(PIPELINES_FILTER).text


# ---- the plan for a Pipelines server ----

SERVER, MODELS = "http://pipelines:9099", "http://models/v1"


def seen(settings: dict[str, Any] | None = None, **more: Any) -> Survey:
    """A Pipelines server after a server of models and before another one, and two servers of Ollama that are on."""
    connections = (
        WebuiConnection(0, MODELS, "sk-upstream-secret", {"prefix_id": "home"}),
        WebuiConnection(1, SERVER, "sk-pipelines-secret", {}),
        WebuiConnection(2, "http://other/v1", "", settings or {}),
    )
    ollama = (
        WebuiConnection(0, "http://ollama:11434/", "", {}),
        WebuiConnection(1, "http://off:11434", "", {"enable": False}),
        WebuiConnection(2, "http://proxy/ollama", "sk-ollama-secret", {"prefix_id": "lab", "key": "sk-ollama-secret"}),
    )
    listed = [
        *(("home.qwen/qwen3", 0, "openai"), ("gpt", 2, "openai")),
        *(("llama:8b", 0, "ollama"), ("lab.llama:8b", 2, "ollama")),
    ]
    records: list[dict[str, Any]] = [
        {"id": name, "name": name, "base_model_id": None, "meta": {}, "params": {}, "access_grants": [EVERYBODY]}
        for name, _, _ in listed
    ]
    found: dict[str, Any] = {
        "url": "http://webui",
        "version": "0.12.4",
        "users": 3,
        "openai_enabled": True,
        "connections": connections,
        "ollama_enabled": True,
        "ollama": ollama,
        "pipelines": (PipelinesServer(connections[1], ()),),
        "functions": (),
        "models": tuple(WebuiModel(name, name, owner, index) for name, index, owner in listed),
        "records": tuple(ModelRecord(str(one["id"]), str(one["id"]), None, True, (EVERYBODY,), one) for one in records),
        "model_settings": {"DEFAULT_MODELS": "gpt"},
        "task_settings": {},
    }
    return Survey(**(found | more))


def planned_steps(
    survey: Survey, protect: Protect, known: Sequence[ModelServer] = (), **options: Any
) -> list[SetupStep]:
    """`known`: the servers of models that the plugin has from an earlier run."""
    wanted = Options(HostKind.PIPELINES, protect, GUARD, **options)
    return list(pipelines_plan.steps(survey, wanted, joined(known, direct_servers(survey, SERVER))))


def titles(survey: Survey, protect: Protect, known: Sequence[ModelServer] = ()) -> list[str]:
    return [step.title for step in planned_steps(survey, protect, known)]


def test_direct_connections_are_switched_off_when_all_users_have_guarded_models() -> None:
    planned = titles(seen(), Protect.MODELS)
    assert planned[-3:] == [
        f"Switch the direct connection {MODELS} off",
        "Switch the direct connection http://other/v1 off",
        "Switch the direct connection to Ollama off",
    ]
    offered = [title for title in planned if title.startswith("Offer ")]
    # The ids that the plugin gives: in the order of its addresses, without Open WebUI's prefix.
    assert [title.split()[1] for title in offered] == [
        "qwen3guard_models.qwen~2Fqwen3",
        "qwen3guard_models.gpt~~2",
        "qwen3guard_models.llama:8b~~3",
        "qwen3guard_models.llama:8b~~4",
    ]
    assert planned.index("Wait until Open WebUI lists the guarded models") < planned.index(offered[0])


def test_no_step_shows_a_key() -> None:
    for protect in Protect:
        secrets: dict[str, Any] = {
            "guard_key": "sk-guard-secret",
            "pipelines": SERVER,
            "pipelines_key": "sk-server-secret",
        }
        steps = planned_steps(seen(), protect, **secrets)
        shown = f"{steps} {[step.title for step in steps]} {seen()}"
        assert "secret" not in shown


def servers_set(steps: Sequence[SetupStep]) -> dict[str, str]:
    (told,) = [step.wanted for step in steps if isinstance(step, PutSecret)]
    return dict(told)


def test_the_addresses_and_keys_of_all_servers_of_models_are_set() -> None:
    told = servers_set(planned_steps(seen(), Protect.MODELS))
    urls = (MODELS, "http://other/v1", "http://ollama:11434/v1", "http://proxy/ollama/v1")
    assert told["upstream_base_urls"] == ", ".join(urls)
    assert told["upstream_api_keys"] == "sk-upstream-secret, none, none, sk-ollama-secret"


def test_servers_that_an_earlier_run_has_switched_off_keep_their_places() -> None:
    first, server, other = seen().connections
    off = WebuiConnection(0, MODELS, first.key, {"enable": False})
    rotated = WebuiConnection(2, other.url, "sk-new", {})
    new = WebuiConnection(3, "http://new/v1", "sk-3", {})
    # As the plugin gives back what was saved, and one that an admin has added there by hand.
    valves = {"upstream_base_urls": f"{MODELS},http://own/v1, {other.url}", "upstream_api_keys": "sk-1,sk-own, sk-2"}
    connections = (off, server, rotated, new)
    models = (WebuiModel("gpt", "gpt", "openai", 2), WebuiModel("neo", "neo", "openai", 3))
    survey = seen(connections=connections, models=models, ollama_enabled=False)
    steps = planned_steps(survey, Protect.MODELS, known_servers(valves))
    told = servers_set(steps)
    assert told["upstream_base_urls"] == f"{MODELS}, http://own/v1, {other.url}, http://new/v1"
    assert told["upstream_api_keys"] == "sk-1, sk-own, sk-new, sk-3"
    assert any(step.title == f"Offer {guarded_id('gpt', 3)} under the name of gpt" for step in steps)
    # When all are off, nothing is left to be set.
    finished = seen(connections=(off, server), ollama_enabled=False)
    assert not any(
        isinstance(step, PutSecret) for step in planned_steps(finished, Protect.MODELS, known_servers(valves))
    )


def test_one_address_with_several_keys_keeps_each_in_its_place() -> None:
    one, two = ModelServer(MODELS, "sk-1"), ModelServer(MODELS, "sk-2")
    on = replace(two, connection=WebuiConnection(1, MODELS, "sk-2", {}))
    assert [server.key for server in joined((one, two), (on,))] == ["sk-1", "sk-2"]
    # The address of a plugin that nobody has set is no server.
    unset = ModelsValves().model_dump(include=set(SERVER_VALVES))
    assert joined(known_servers(unset), (on,)) == (on,)


def test_connections_that_were_off_with_all_others_stay_off() -> None:
    planned = titles(seen(openai_enabled=False), Protect.FILTER)
    on = planned.index("Allow OpenAI-compatible connections")
    assert planned[:on] == [f"Keep the connection {MODELS} off", "Keep the connection http://other/v1 off"]


def test_each_of_several_connections_with_one_address_is_switched(installing: Installing) -> None:
    first, server, _ = seen().connections
    again = WebuiConnection(2, MODELS, "sk-another", {"prefix_id": "work"})
    steps = planned_steps(seen(connections=(first, server, again)), Protect.MODELS)
    switches = [step.place for step in steps if isinstance(step.place, ConnectionSwitch)]
    assert switches == [ConnectionSwitch(MODELS), ConnectionSwitch(MODELS, 1)]
    openai = installing.api.settings["openai"]
    openai.update(
        {"OPENAI_API_BASE_URLS": [MODELS, SERVER, MODELS], "OPENAI_API_CONFIGS": {"2": {"prefix_id": "work"}}}
    )
    for switch in switches:
        switch.write(installing.client, False)
    assert openai["OPENAI_API_CONFIGS"] == {"0": {"enable": False}, "2": {"prefix_id": "work", "enable": False}}
    for switch in switches:
        switch.write(installing.client, None)
    assert openai["OPENAI_API_CONFIGS"] == {"0": {}, "2": {"prefix_id": "work"}}
    assert ConnectionSwitch(MODELS, 2).read(installing.client) is None
    # As older records name it.
    assert place_of({"kind": "connection is on", "url": MODELS}) == switches[0]


def of_another_plugin() -> Survey:
    made = seen()
    pipe = WebuiModel("clock.now", "Clock", "openai", None, "clock", "pipe")
    record = ModelRecord(pipe.id, pipe.name, None, True, (EVERYBODY,), {})
    return replace(made, models=(*made.models, pipe), records=(*made.records, record))


def connected(**settings: Any) -> Survey:
    made = seen()
    server = WebuiConnection(1, SERVER, "sk-pipelines-secret", settings)
    return replace(made, connections=(server,), pipelines=(PipelinesServer(server, ()),))


@pytest.mark.parametrize(
    ("survey", "protect", "says"),
    [
        (seen({"headers": {"api-key": "x"}}), Protect.MODELS, "has settings of its own (headers)"),
        (seen(pipelines=()), Protect.MODELS, "No Pipelines server is connected"),
        (of_another_plugin(), Protect.MODELS, "cannot guard models of other plugins: clock.now"),
        (seen(), Protect.BOTH, "its first connection only: not home.qwen/qwen3"),
        (connected(prefix_id="x"), Protect.FILTER, f"{SERVER} has a prefix"),
        (connected(enable=False, model_ids=["a"]), Protect.FILTER, "is switched off and has a list of model ids"),
    ],
)
def test_what_a_pipelines_server_cannot_do_is_said_before_any_change(
    installing: Installing, survey: Survey, protect: Protect, says: str
) -> None:
    installing.api.verified = {"data": [], "pipelines": True}
    with pytest.raises(CannotInstall) as raised:
        pipelines_plan.plan(installing.client, survey, Options(HostKind.PIPELINES, protect, GUARD))
    assert says in raised.value.cause


def test_a_plan_for_a_server_that_is_not_connected_yet(installing: Installing) -> None:
    installing.api.verified = {"data": [], "pipelines": True}
    options = Options(HostKind.PIPELINES, Protect.MODELS, GUARD, None, SERVER, "sk-server-secret")
    record = UndoRecord(installing.path, installing.client.url)
    installation.install(installing.client, options, record, installing.said.append, dry_run=True)
    assert f"  Connect the Pipelines server {SERVER}" in installing.said
    assert "  Switch the direct connection http://models/v1 off" in installing.said


def test_a_connection_that_is_removed_takes_no_settings_of_others_along(installing: Installing) -> None:
    openai = installing.api.settings["openai"]
    openai["OPENAI_API_CONFIGS"] = {"0": {"prefix_id": "home"}}
    place = PipelinesConnection(SERVER, "sk-pipelines-secret")
    place.write(installing.client, True)
    assert place.read(installing.client)
    later = {"OPENAI_API_BASE_URLS": [MODELS, SERVER, "http://other/v1"], "OPENAI_API_KEYS": ["a", "b", "c"]}
    openai.update(later, OPENAI_API_CONFIGS={"0": {"prefix_id": "home"}, "1": {}, "2": {"enable": False}})
    place.write(installing.client, None)
    assert openai["OPENAI_API_BASE_URLS"] == [MODELS, "http://other/v1"]
    assert openai["OPENAI_API_KEYS"] == ["a", "c"]
    assert openai["OPENAI_API_CONFIGS"] == {"0": {"prefix_id": "home"}, "1": {"enable": False}}


# ---- the command's errors ----


@contextmanager
def page(*routes: Route) -> Iterator[str]:
    with serve(Starlette(routes=list(routes))) as url:
        yield url


async def _elsewhere(request: Any) -> RedirectResponse:
    return RedirectResponse("https://chat.example/api/version")


async def _sign_in(request: Any) -> RedirectResponse:
    return RedirectResponse("https://login.example/?next=%2Fapi%2Fversion&client=1")


async def _without_webui(request: Any) -> PlainTextResponse:
    return PlainTextResponse("<h1>Bad Gateway</h1>", 502)


async def _sign_in_page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("<html>")


async def _other_api(request: Any) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def run(url: str, token: str, folder: Path, *options: str) -> str:
    """What the command prints when it fails: cause, remedy, and no traceback."""
    arguments = ["install", "--webui", url, "--record", str(folder / "record.json"), *options]
    result = CliRunner().invoke(cli.app, arguments, env={"OPEN_WEBUI_TOKEN": token, "COLUMNS": "200"})
    assert result.exit_code == 1, result.output
    assert "Error: " in result.stderr
    assert "Remedy: " in result.stderr
    assert "Traceback" not in result.output
    assert not token or token not in result.output
    return result.stderr


def _too_old(api: AdminApi) -> None:
    api.version = "0.10.9"


def _no_admin(api: AdminApi) -> None:
    api.role = "user"


def _no_keys(api: AdminApi) -> None:
    api.api_keys = False


@pytest.mark.parametrize(
    ("change", "says"),
    [(_too_old, "is 0.10.9"), (_no_admin, "not an admin"), (_no_keys, "does not let this token in")],
)
def test_an_account_or_a_version_that_cannot_do_it(
    api: AdminApi, tmp_path: Path, change: Callable[[AdminApi], None], says: str
) -> None:
    change(api)
    with serve(api.app) as url:
        assert says in run(url, TOKEN, tmp_path)


def test_a_wrong_token(api: AdminApi, tmp_path: Path) -> None:
    with serve(api.app) as url:
        assert "does not know this token" in run(url, "sk-wrong", tmp_path)
        assert "No token was given" in run(url, "", tmp_path)
        assert "cannot be read" in run(url, "", tmp_path, "--token-file", str(tmp_path / "none"))
        # Signs that no header may have; the message of the HTTP library would repeat the token.
        for token in ("sk-line\nsk-another", "sk-tök", "sk one"):
            assert "not one word" in run(url, token, tmp_path)


def test_a_plan_to_uninstall_changes_nothing(installing: Installing) -> None:
    installing.install()
    before, record = installing.api.state(), installing.path.read_text()
    arguments = ["install", "--webui", installing.client.url, "--record", str(installing.path), "--uninstall"]
    environment = {"OPEN_WEBUI_TOKEN": TOKEN}
    planned = CliRunner().invoke(cli.app, [*arguments, "--dry-run"], env=environment)
    assert planned.exit_code == 0, planned.output
    assert "To undo: who may use open" in planned.stdout
    assert (installing.api.state(), installing.path.read_text()) == (before, record)
    both = CliRunner().invoke(cli.app, [*arguments, "--upgrade"], env=environment)
    assert both.exit_code == 2
    done = CliRunner().invoke(cli.app, arguments, env=environment)
    assert planned.stdout.count("To undo: ") == done.stdout.count("Undoing: ") > 5


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (_elsewhere, "--webui https://chat.example"),
        (_sign_in, "a sign-in page before it"),
        (_without_webui, "answers 502"),
        (_sign_in_page, "is no Open WebUI"),
        (_other_api, "is no Open WebUI"),
    ],
)
def test_an_address_where_something_else_answers(answer: Any, says: str, tmp_path: Path) -> None:
    with page(Route("/api/version", answer)) as url:
        assert says in run(url, TOKEN, tmp_path)


def test_an_address_where_nobody_answers(tmp_path: Path) -> None:
    assert "cannot be reached" in run(f"http://127.0.0.1:{free_port()}", TOKEN, tmp_path)
    for address in ("localhost:3000", "http://", "http://localhost:port", "ftp://localhost", ""):
        assert "is no address" in run(address, TOKEN, tmp_path)
    said = run("https://me:hunter2@localhost", TOKEN, tmp_path) + run("https://me:hunter2@localhost:port", "", tmp_path)
    assert "has a user name or a password" in said
    assert "hunter2" not in said


def test_a_proxy_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy.example:70")
    said = run(f"http://127.0.0.1:{free_port()}", TOKEN, tmp_path)
    assert "The proxy that the environment names" in said
    assert "ALL_PROXY" in said


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("http://LocalHost:3000//", "http://localhost:3000"),
        (" https://chat.example:443/ ", "https://chat.example"),
        ("http://[::1]:3000/?models=a#b", "http://[::1]:3000"),
        ("https://example/chat/", "https://example/chat"),
    ],
)
def test_one_address_has_one_record_however_it_is_written(address: str, meant: str) -> None:
    with WebuiClient(address) as client:
        assert client.url == meant


def test_what_was_never_installed_cannot_be_undone(api: AdminApi, tmp_path: Path) -> None:
    with serve(api.app) as url:
        assert "no record of an installation" in run(url, TOKEN, tmp_path, "--uninstall")
        said = run(url, TOKEN, tmp_path, "--host", "pipelines")
    assert "No Pipelines server is connected" in said
