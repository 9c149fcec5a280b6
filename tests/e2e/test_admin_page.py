"""An admin's actions on the filter, in the browser."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.stack.stack import SAFE_PROMPT, UNSAFE_PROMPT, Stack
from demo.webui_client.host import FILTER, Host
from demo.webui_client.protection import Protection
from demo.webui_client.visitor import Visitor
from demo.webui_client.webui_api import WebuiApi
from pipelines.qwen3guard_filter import Valves
from tests.e2e.pipelines_page import PipelinesPage
from tests.e2e.screenshots import picture
from tests.e2e.texts import CHAT_MODELS, EN, SAFE_ANSWER
from tests.stands.waiting import wait_until

FILTER_LABEL = f"{FILTER} (filter)"
EDITED: dict[str, Any] = {
    "guard_base_url": "http://127.0.0.1:9/v1",
    "guard_api_key": "a key",
    "guard_model": "gen-8b",
    "guard_context_tokens": "8192",
    "timeout_seconds": "2.5",
    "strictness": "loose",
    "block_threshold": "0.75",
    "allowed_categories": "Copyright Violation, PII",
    "mode": "monitor",
    "when_unavailable": "allow",
    "exempt_roles": "admin",
    "system_prompts": "judge",
    "images": "withhold",
    "notice_language": "fr",
    "notice_prompt": "Not this, please.",
    "notice_answer": "Not that, please.",
    "notice_unchecked": "Later, please.",
    "show_categories": True,
    "audit_path": "none/edited.jsonl",
    "audit_text": True,
    "pipelines": CHAT_MODELS[0],
    "priority": "7",
    "refusal_model": "somebody",
    "rewrite_history": False,
    "reroute": True,
}


@pytest.fixture
def page(stack: Stack, open_page: Callable[[WebuiApi], Page]) -> PipelinesPage:
    # Otherwise Open WebUI shows its news to an admin at the first visit.
    stack.admin.post("/api/v1/users/user/settings/update", {"ui": {"showChangelog": False}})
    page = PipelinesPage(open_page(stack.admin), stack.admin)
    page.open()
    return page


@pytest.mark.usefixtures("valves")
def test_the_uploaded_filter_is_listed_and_every_valve_is_back_after_a_reload(
    stack: Stack, page: PipelinesPage
) -> None:
    assert EDITED.keys() == Valves.model_fields.keys()
    delete = stack.admin.http.request("DELETE", "/api/v1/pipelines/delete", json={"id": FILTER, "urlIdx": 1})
    assert delete.is_success
    page.open()
    expect(page.listed.filter(has_text=FILTER)).to_have_count(0)

    page.upload(Host.PIPELINES.files(Protection.FILTER)[0])
    expect(page.listed.filter(has_text=FILTER_LABEL)).to_have_count(1)
    page.choose(FILTER_LABEL)
    defaults = Valves().model_dump()
    assert page.value("strictness") == defaults["strictness"]
    page.set("guard_base_url", stack.guard_url)
    page.valve("when_unavailable").scroll_into_view_if_needed()
    picture(page.page, "admin-valves")
    for name, value in EDITED.items():
        assert str(page.value(name)) != str(value), f"{name} would not be edited"
        page.set(name, value)
    page.save()

    page.open()
    page.choose(FILTER_LABEL)
    assert {name: page.value(name) for name in EDITED} == EDITED


def test_a_wrong_value_does_no_harm(stack: Stack, page: PipelinesPage, valves: Callable[..., None]) -> None:
    page.choose(FILTER_LABEL)
    page.set("timeout_seconds", "soon")
    page.set("allowed_categories", "Violence")
    page.set("pipelines", "*, some-model")
    page.set("priority", "high")
    page.save()

    page.open()
    page.choose(FILTER_LABEL)
    shown = {name: page.value(name) for name in ("timeout_seconds", "allowed_categories", "pipelines", "priority")}
    assert shown == {"timeout_seconds": "10", "allowed_categories": "none", "pipelines": "*", "priority": "0"}
    visitor = Visitor(stack.user, CHAT_MODELS[0])
    assert visitor.ask(UNSAFE_PROMPT).text == EN["prompt_refused"]

    def reported() -> set[str]:
        return {record["problem"].split(":")[0] for record in stack.audit() if record["event"] == "setting"}

    wait_until(lambda: {"timeout_seconds", "allowed_categories", "priority"} <= reported())


@pytest.mark.usefixtures("valves")
@pytest.mark.parametrize("how", ["choices and keys that are gone", "cut off"])
def test_the_server_starts_with_stale_valves(stack: Stack, how: str) -> None:
    saved = stack.state.pipelines / FILTER / "valves.json"
    held = json.loads(saved.read_text())
    stale = json.dumps(held | {"strictness": "medium", "gone": 1})
    stack.stop_child("pipelines")
    saved.write_text(stale if how != "cut off" else stale[: len(stale) // 2])
    stack.start_child("pipelines")
    listed = {model["id"]: model.get("pipeline") for model in stack.admin.get("/openai/models/1")["data"]}
    assert listed[FILTER]["pipelines"] == ["*"]
    now = stack.admin.get(f"/api/v1/pipelines/{FILTER}/valves", urlIdx=1)
    assert now["strictness"] == "strict"
    kept = held["guard_base_url"] if how != "cut off" else Valves().guard_base_url
    assert now["guard_base_url"] == kept
    needed = {name: held[name] for name in ("guard_base_url", "refusal_model", "timeout_seconds")}
    stack.set_valves(FILTER, **needed)
    visitor = Visitor(stack.user, CHAT_MODELS[0])
    assert visitor.ask(UNSAFE_PROMPT).text == EN["prompt_refused"]
    assert SAFE_ANSWER in visitor.ask(SAFE_PROMPT).text
