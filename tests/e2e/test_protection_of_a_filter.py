"""`doctor --webui` over a filter in a Pipelines server, which protects less, and which a switch ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.stack.stack import Stack
from demo.webui_client.host import FILTER
from tests.e2e.protection_check import AROUND, check
from tests.e2e.texts import CHAT_MODELS


def test_a_filter_in_a_pipelines_server(stack: Stack, tmp_path: Path) -> None:
    on = check(stack, tmp_path / "token").states(CHAT_MODELS[0])
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
        off = check(stack, tmp_path / "token")
    finally:
        stack.admin.post("/api/v1/models/model/delete", {"id": FILTER})
        stack.admin.get("/api/models", refresh=True)
    assert off.failed_settings() == {FILTER: "it is switched off among the models"}
    assert off.states(CHAT_MODELS[0])["chat page"] == "open"
