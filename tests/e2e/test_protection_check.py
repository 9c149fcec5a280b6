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
from demo.webui_client.host import FUNCTION_FILTER
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
        assert {path for path, state in on.states(model).items() if state == "protected"} >= {
            *SEEN_BY_A_FILTER,
            *AROUND,
            "title",
        }
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
    assert set(off.states(CHAT_MODELS[0]).values()) == {"open"}
    assert set(off.states(GUARDED[0]).values()) <= {"protected", "closed"}
