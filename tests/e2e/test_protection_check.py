"""`doctor --webui` over real servers: what it says of each way to a model, and that it says when that changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from demo.stack.stack import Stack
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import FILTER, FUNCTION_FILTER
from guard_server import cli
from moderation.probe import PROBE_ANSWER, PROBE_MARK
from tests.e2e.chat_host import CHAT_HOSTS, CHAT_MODELS
from tests.e2e.guarded_stack import GuardedStack

GUARDED = CHAT_HOSTS["functions-models"].models
SEEN_BY_A_FILTER = {"chat page", "API", "API, streamed", "messages API"}
AROUND = {"/openai", "/openai, streamed"}


class Checked:
    """A report as a script reads it."""

    def __init__(self, status: int, report: dict[str, Any]) -> None:
        self.status = status
        self.report = report

    def states(self, model: str) -> dict[str, str]:
        return {one["path"]: one["state"] for one in self.report["paths"] if one["model"] == model}

    def why(self, model: str, path: str) -> str:
        (found,) = [one for one in self.report["paths"] if (one["model"], one["path"]) == (model, path)]
        return f"{found['why']} → {found['remedy']}"

    def failed_settings(self) -> dict[str, str]:
        return {one["setting"]: one["found"] for one in self.report["settings"] if one["level"] == "failure"}


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Stack], Checked]:
    """Runs the command as an admin, who has a token in a file."""

    def check(stack: Stack) -> Checked:
        token = tmp_path / "token"
        token.write_text(stack.admin.token)
        arguments = ["doctor", "--webui", stack.webui_url, "--token-file", str(token), "--json"]
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code in (0, 1), result.output
        assert stack.admin.token not in result.output
        print(result.output)
        return Checked(result.exit_code, json.loads(result.stdout))

    return check


def accounts(stack: Stack) -> int:
    return int(stack.admin.get("/api/v1/users/")["total"])


@pytest.mark.on("functions-filter")
def test_functions(guarded: GuardedStack, check: Callable[[Stack], Checked]) -> None:
    guarded.model.says(PROBE_ANSWER)
    stack, before = guarded.stack, accounts(guarded.stack)
    on = check(stack)
    assert on.failed_settings() == {}
    for model in GUARDED:
        states = on.states(model)
        assert {states[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}
        # Open WebUI passes requests on to models of servers only.
        assert {states[path] for path in AROUND} == {"closed"}
    for model in CHAT_MODELS:
        states = on.states(model)
        assert {states[path] for path in SEEN_BY_A_FILTER} == {"protected"}
        # What no filter of Open WebUI sees.
        assert {states[path] for path in (*AROUND, "title")} == {"open"}
    assert "reverse proxy" in on.why(CHAT_MODELS[0], "/openai")
    assert on.status == 1
    assert accounts(stack) == before
    probes = [record for record in stack.audit() if record.get("probe")]
    assert {record["direction"] for record in probes} >= {"prompt", "response"}
    assert PROBE_MARK not in str(stack.user.get("/api/v1/chats/", page=1))

    functions = FunctionsHost(stack.admin)
    functions.switch(FUNCTION_FILTER, active=False)
    try:
        off = check(stack)
    finally:
        functions.switch(FUNCTION_FILTER, active=True)
    assert off.failed_settings() == {FUNCTION_FILTER: "it is switched off"}
    direct, its_guarded = off.states(CHAT_MODELS[0]), off.states(GUARDED[0])
    assert {direct[path] for path in (*SEEN_BY_A_FILTER, *AROUND, "title")} == {"open"}
    assert {its_guarded[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}


@pytest.mark.on("pipelines")
def test_guarded_models_in_a_pipelines_server(guarded: GuardedStack, check: Callable[[Stack], Checked]) -> None:
    guarded.model.says(PROBE_ANSWER)
    on = check(guarded.stack)
    assert (on.status, on.failed_settings()) == (0, {})
    for model in CHAT_HOSTS["pipelines"].models:
        states = on.states(model)
        assert {states[path] for path in (*SEEN_BY_A_FILTER, *AROUND, "title")} == {"protected"}
    guarded.stop_guard()
    try:
        without = check(guarded.stack)
    finally:
        guarded.start_guard()
    assert without.status == 1
    model = CHAT_HOSTS["pipelines"].models[0]
    assert {without.states(model)[path] for path in (*SEEN_BY_A_FILTER, *AROUND)} == {"closed"}
    assert "no verdict" in without.why(model, "API")


def test_a_filter_in_a_pipelines_server(stack: Stack, check: Callable[[Stack], Checked]) -> None:
    on = check(stack).states(CHAT_MODELS[0])
    assert on["chat page"] == "protected"
    assert on["title"] == "protected"
    # The result of an outlet is ignored there, and no filter sees the rest.
    assert {on[path] for path in ("API", "API, streamed", "messages API", *AROUND)} == {"open"}
    record: dict[str, Any] = {
        "id": FILTER,
        "base_model_id": None,
        "name": "off",
        "meta": {},
        "params": {},
        "is_active": False,
    }
    record["access_grants"] = []
    stack.admin.post("/api/v1/models/create", record)
    try:
        off = check(stack)
    finally:
        stack.admin.post("/api/v1/models/model/delete", {"id": FILTER})
        stack.admin.get("/api/models", refresh=True)
    assert off.failed_settings() == {FILTER: "it is switched off among the models"}
    assert off.states(CHAT_MODELS[0])["chat page"] == "open"
