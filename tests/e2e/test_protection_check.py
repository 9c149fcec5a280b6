"""`doctor --webui` over real servers: what it says of each way to a model, and that it says when that changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.stack.stack import Stack
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import FUNCTION_FILTER
from moderation.probe import PROBE_ANSWER, PROBE_MARK
from tests.e2e.chat_host import CHAT_HOSTS, CHAT_MODELS
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.protection_check import AROUND, SEEN_BY_A_FILTER, check

GUARDED = CHAT_HOSTS["functions-models"].models


def accounts(stack: Stack) -> int:
    return int(stack.admin.get("/api/v1/users/")["total"])


@pytest.mark.on("functions-filter")
def test_functions(guarded: GuardedStack, tmp_path: Path) -> None:
    guarded.model.says(PROBE_ANSWER)
    stack, before = guarded.stack, accounts(guarded.stack)
    on = check(stack, tmp_path / "token")
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
        off = check(stack, tmp_path / "token")
    finally:
        functions.switch(FUNCTION_FILTER, active=True)
    assert off.failed_settings() == {FUNCTION_FILTER: "it is switched off"}
    direct, its_guarded = off.states(CHAT_MODELS[0]), off.states(GUARDED[0])
    assert {direct[path] for path in (*SEEN_BY_A_FILTER, *AROUND, "title")} == {"open"}
    assert {its_guarded[path] for path in (*SEEN_BY_A_FILTER, "title")} == {"protected"}


@pytest.mark.on("pipelines")
def test_guarded_models_in_a_pipelines_server(guarded: GuardedStack, tmp_path: Path) -> None:
    guarded.model.says(PROBE_ANSWER)
    on = check(guarded.stack, tmp_path / "token")
    assert (on.status, on.failed_settings()) == (0, {})
    for model in CHAT_HOSTS["pipelines"].models:
        states = on.states(model)
        assert {states[path] for path in (*SEEN_BY_A_FILTER, *AROUND, "title")} == {"protected"}
    guarded.stop_guard()
    try:
        without = check(guarded.stack, tmp_path / "token")
    finally:
        guarded.start_guard()
    assert without.status == 1
    model = CHAT_HOSTS["pipelines"].models[0]
    assert {without.states(model)[path] for path in (*SEEN_BY_A_FILTER, *AROUND)} == {"closed"}
    assert "no verdict" in without.why(model, "API")
