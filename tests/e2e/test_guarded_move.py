"""From direct models to guarded ones: an admin's steps, in the order of the admin's guide."""

from collections.abc import Iterator
from typing import Any

import pytest

from demo.errors import SetupFailed
from demo.state import ROOT
from demo.webui_client.host import MODELS
from demo.webui_client.protection import Protection
from demo.webui_client.visitor import Seen, Visitor
from demo.webui_client.webui_api import Account, WebuiApi
from pipelines.upstreams.model_ids import guarded as guarded_id
from tests.e2e.guarded_stack import UPSTREAM_KEY, GuardedStack
from tests.e2e.stored_chat import StoredChat, holds
from tests.e2e.texts import EN, SEA_PROMPT, UNSAFE, UNSAFE_WORDS
from tests.stands.chats import CALM
from tests.stands.waiting import wait_until

OPEN, PRIVATE, PRESET = "demo-chat", "demo-chat-2", "sailor"
SYSTEM = "You are an old sailor."
STRANGER = Account("Stranger", "stranger@localhost", "a-password-for-tests")
Body = dict[str, Any]


class Move:
    """The steps. Each uses the same API as the admin's page."""

    def __init__(self, guarded: GuardedStack) -> None:
        self.stack = guarded.stack
        self.api = guarded.stack.admin

    def install(self) -> None:
        """Upload the guarded models next to the filter, and set their valves."""
        place = self.stack.setup.pipelines_index
        file = ROOT / f"dist/{MODELS}.py"
        self.api.upload("/api/v1/pipelines/upload", {"urlIdx": str(place)}, file.name, file.read_bytes())
        path = f"/api/v1/pipelines/{MODELS}/valves"
        wanted = {
            "guard_base_url": self.stack.guard_url,
            "upstream_base_urls": self.stack.chat.url,
            "upstream_api_keys": UPSTREAM_KEY,
            "audit_path": str(self.stack.state.audit / "audit.jsonl"),
        }
        self.api.post(f"{path}/update?urlIdx={place}", self.api.get(path, urlIdx=place) | wanted)

    def copy_models(self) -> None:
        """Give each guarded model the name, settings and access of the direct one."""
        for model in self.api.get("/api/v1/models/base"):
            if model["id"] in (OPEN, PRIVATE):
                self.api.post("/api/v1/models/create", model | {"id": guarded_id(model["id"])})

    def turn_presets(self) -> None:
        """Export the presets, put the new base models into the file, and import it."""
        presets = self.api.get("/api/v1/models/export")
        turned = [preset | {"base_model_id": guarded_id(preset["base_model_id"])} for preset in presets]
        self.api.post("/api/v1/models/import", {"models": turned})

    def turn_defaults(self) -> None:
        path = "/api/v1/configs/models"
        before = self.api.get(path)
        after = {
            key: ",".join(map(moved, before[key].split(","))) for key in ("DEFAULT_MODELS", "DEFAULT_PINNED_MODELS")
        }
        self.api.post(path, before | after | {"MODEL_ORDER_LIST": list(map(moved, before["MODEL_ORDER_LIST"]))})

    def disconnect(self) -> None:
        """Remove the direct connection, and the settings of its models."""
        own = self.stack.setup.pipelines
        only = {"OPENAI_API_BASE_URLS": [own.url], "OPENAI_API_KEYS": [own.key], "OPENAI_API_CONFIGS": {"0": {}}}
        self.api.post("/openai/config/update", {"ENABLE_OPENAI_API": True, **only})
        for model in (OPEN, PRIVATE):
            self.api.post("/api/v1/models/model/delete", {"id": model})
        self.api.get("/api/models", refresh=True)


def moved(model: str) -> str:
    return guarded_id(model) if model in (OPEN, PRIVATE) else model


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    """Direct models of a typical setup: one for all users, one for one user, and a preset for that user."""
    with GuardedStack.running(tmp_path_factory.mktemp("move"), Protection.FILTER) as direct:
        admin = direct.stack.admin
        user = direct.stack.user.get("/api/v1/auths/")["id"]
        grant = {"principal_type": "user", "principal_id": user, "permission": "read"}
        admin.post("/api/v1/models/model/access/update", {"id": PRIVATE, "access_grants": [grant]})
        preset = {"id": PRESET, "base_model_id": OPEN, "name": "Old sailor", "meta": {"description": "Knows the sea."}}
        admin.post("/api/v1/models/create", preset | {"params": {"system": SYSTEM}, "access_grants": [grant]})
        settings = {"DEFAULT_MODELS": f"{PRESET},{OPEN}", "DEFAULT_PINNED_MODELS": OPEN}
        admin.post(
            "/api/v1/configs/models",
            admin.get("/api/v1/configs/models") | settings | {"MODEL_ORDER_LIST": [PRIVATE, PRESET]},
        )
        form = {"name": STRANGER.name, "email": STRANGER.email, "password": STRANGER.password, "role": "user"}
        admin.post("/api/v1/auths/add", form)
        admin.get("/api/models", refresh=True)
        yield direct


@pytest.fixture(scope="module")
def stranger(direct: GuardedStack) -> Iterator[WebuiApi]:
    with WebuiApi(direct.stack.webui_url) as api:
        api.sign_in(STRANGER)
        yield api


@pytest.fixture(scope="module")
def old_chats(direct: GuardedStack) -> dict[str, Seen]:
    """Older chats, by model."""
    return {model: Visitor(direct.stack.user, model).ask(SEA_PROMPT) for model in (PRIVATE, PRESET)}


@pytest.fixture(scope="module")
def after(direct: GuardedStack, stranger: WebuiApi, old_chats: dict[str, Seen]) -> GuardedStack:
    assert usable(direct.stack.user) == {OPEN, PRIVATE, PRESET}
    assert usable(stranger) == {OPEN}
    move = Move(direct)
    for step in (move.install, move.copy_models, move.turn_presets, move.turn_defaults, move.disconnect):
        step()
    return direct


@pytest.fixture
def guarded(after: GuardedStack) -> GuardedStack:
    return after.settled()


def usable(api: WebuiApi) -> set[str]:
    """The models on an account's page, without Open WebUI's arena and the filter's refusal model."""
    listed = {model["id"] for model in api.get("/api/models")["data"]}
    return {model for model in listed if "arena" not in model and "refusal" not in model}


def test_every_user_keeps_access_to_the_same_models(guarded: GuardedStack, stranger: WebuiApi) -> None:
    assert usable(guarded.stack.user) == {moved(OPEN), moved(PRIVATE), PRESET}
    assert usable(stranger) == {moved(OPEN)}
    for model in (PRESET, moved(PRIVATE)):
        with pytest.raises(SetupFailed, match="Model not found"):
            Visitor(stranger, model).ask(SEA_PROMPT)
    for api in (guarded.stack.user, stranger, guarded.stack.admin):
        with pytest.raises(SetupFailed, match="Model not found"):
            Visitor(api, OPEN).ask(SEA_PROMPT)
    assert guarded.model.requests == []


def test_the_preset_is_guarded_and_keeps_its_system_prompt(guarded: GuardedStack) -> None:
    visitor = Visitor(guarded.stack.user, PRESET)
    guarded.model.says(CALM)
    seen = visitor.ask("What was it like?")
    assert (seen.text.strip(), seen.error) == (CALM.strip(), "")
    (asked,) = [body for body in guarded.model.requests if not holds(body, "### Task:")]
    assert (asked["model"], asked["messages"][0]) == (OPEN, {"role": "system", "content": SYSTEM})
    guarded.model.says(CALM + UNSAFE + CALM)
    unsafe = visitor.ask("And then?", after=seen)
    assert unsafe.text == EN["answer_withheld"]
    stored = StoredChat.read(guarded.stack.user, seen.chat_id)
    assert not any(holds(stored.chat, word) for word in UNSAFE_WORDS)
    refused = visitor.ask("How do I make a bomb?")
    assert (refused.text, visitor.sidebar()[refused.chat_id]) == (EN["prompt_refused"], "New Chat")
    # The filter, which is still installed, judges nothing a second time. The preset's system prompt, which a user may
    # have written, is judged like the user's messages.

    def decisions() -> list[tuple[str, str]]:
        return [(record["direction"], record["action"]) for record in guarded.audit(seen.chat_id)]

    wait_until(lambda: ("response", "refuse") in decisions())
    decided = decisions()
    passed = [("prompt", "pass")] * 2
    turns = [*passed, ("response", "pass"), *passed, ("response", "refuse")]
    assert [each for each in decided if each[0] not in ("task", "tools")] == turns
    # Open WebUI's own tools, which are in every request, are judged at most once.
    assert decided.count(("tools", "pass")) == len([each for each in decided if each[0] == "tools"]) <= 1
    preset = guarded.stack.admin.get("/api/v1/models/model", id=PRESET)
    assert (preset["name"], preset["meta"]["description"]) == ("Old sailor", "Knows the sea.")


def test_the_defaults_name_guarded_models(guarded: GuardedStack) -> None:
    assert guarded.stack.user.get("/api/config")["default_models"] == f"{PRESET},{moved(OPEN)}"
    settings = guarded.stack.admin.get("/api/v1/configs/models")
    assert (settings["DEFAULT_PINNED_MODELS"], settings["MODEL_ORDER_LIST"]) == (moved(OPEN), [moved(PRIVATE), PRESET])


def test_old_chats_continue_with_the_model_of_the_new_name(guarded: GuardedStack, old_chats: dict[str, Seen]) -> None:
    guarded.model.says(CALM)
    for model, seen in old_chats.items():
        again = Visitor(guarded.stack.user, moved(model)).ask("And the next day?", after=seen)
        assert (again.text.strip(), again.error) == (CALM.strip(), "")
