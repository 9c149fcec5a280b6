"""Which model says a notice: the refusal model to users whom it answers, the chat model to all others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.chats import BOMB, request, user
from tests.stands.plugins import Pipeline, audited, load, set_valves, started
from tests.stands.waiting import PATIENCE
from tools.bundle import build
from webui.bodies import Body

EN = TEXTS["en"]
REFUSAL = "qwen3guard_refusal"
ANN, BEN = ({"id": name, "role": "user"} for name in ("ann", "ben"))
ADMIN = {"id": "boss", "role": "admin"}


@pytest.fixture
def upload(tmp_path: Path) -> Callable[[str], Pipeline]:
    """Puts a built file into the folder of one Pipelines server, and loads it."""

    def upload(plugin: str) -> Pipeline:
        path = tmp_path / f"{plugin}.py"
        path.write_text(build(plugin), encoding="utf-8")
        return load(path).Pipeline()

    return upload


@pytest.fixture
async def pipeline(upload: Callable[[str], Pipeline], guard_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """The filter, which knows a refusal model by name."""
    valves = {"guard_base_url": guard_url, "timeout_seconds": PATIENCE, "refusal_model": REFUSAL}
    audit = {"audit_path": str(tmp_path / "audit.jsonl")}
    async with started(upload("qwen3guard_filter"), **valves, **audit) as pipeline:
        yield pipeline


async def refused(pipeline: Pipeline, by: dict[str, Any], task: str | None = None) -> Body:
    """Where an unsafe prompt goes."""
    more = {"metadata": {"task": task, "task_body": {}}} if task else {}
    sent: Body = await pipeline.inlet(request(user(BOMB), **more), by)
    assert BOMB not in json.dumps(sent)
    return sent


async def model_for(pipeline: Pipeline, by: dict[str, Any], task: str | None = None) -> str:
    return str((await refused(pipeline, by, task))["model"])


def answers(refusal: Pipeline, sent: Body, by: dict[str, Any]) -> str:
    """What the refusal model says if Open WebUI hands it the request."""
    reply = refusal.pipe("", sent["model"], sent["messages"], {**sent, "stream": False, "user": by})
    return str(reply["choices"][0]["message"]["content"])


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """So much later that a request which was not answered did not get there."""

    def later() -> None:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 11)

    return later


def settings(records: list[Body]) -> list[str]:
    return [record["problem"] for record in records if record["event"] == "setting"]


async def test_without_the_refusal_models_file_the_chat_model_says_the_notice(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    sent = await refused(pipeline, ANN)
    assert (sent["model"], EN["prompt_refused"] in sent["messages"][0]["content"]) == ("chat", True)
    title = await refused(pipeline, ANN, "title_generation")
    assert (title["model"], "New Chat" in title["messages"][0]["content"]) == ("chat", True)
    (problem,) = settings(await audited(pipeline, tmp_path))
    assert "qwen3guard_refusal.py" in problem


async def test_the_refusal_model_that_answers_goes_on_answering(
    pipeline: Pipeline, upload: Callable[[str], Pipeline], later: Callable[[], None], tmp_path: Path
) -> None:
    refusal = upload(REFUSAL)
    sent = await refused(pipeline, ANN)
    assert (sent["model"], answers(refusal, sent, ANN)) == (REFUSAL, EN["prompt_refused"])
    later()
    # Another user of the same role can be expected to read it too.
    assert await model_for(pipeline, BEN, "title_generation") == REFUSAL
    assert await model_for(pipeline, ANN) == REFUSAL
    assert len(settings(await audited(pipeline, tmp_path))) == 1


async def test_a_refusal_model_that_users_cannot_read_is_tried_once(
    pipeline: Pipeline, upload: Callable[[str], Pipeline], later: Callable[[], None], tmp_path: Path
) -> None:
    refusal = upload(REFUSAL)
    # Open WebUI says "Model not found", and nothing reaches the refusal model.
    assert await model_for(pipeline, ANN) == REFUSAL
    # An admin reads it.
    answers(refusal, await refused(pipeline, ADMIN), ADMIN)
    later()
    assert [await model_for(pipeline, by) for by in (ANN, BEN, ADMIN)] == ["chat", "chat", REFUSAL]
    problems = settings(await audited(pipeline, tmp_path))
    assert ["make it public" in problem for problem in problems] == [False, True]


async def test_only_some_users_can_read_it(
    pipeline: Pipeline, upload: Callable[[str], Pipeline], later: Callable[[], None]
) -> None:
    refusal = upload(REFUSAL)
    answers(refusal, await refused(pipeline, ANN), ANN)
    assert await model_for(pipeline, BEN) == REFUSAL
    later()
    assert [await model_for(pipeline, by) for by in (ANN, BEN)] == [REFUSAL, "chat"]


async def test_a_save_tries_again(
    pipeline: Pipeline, upload: Callable[[str], Pipeline], later: Callable[[], None]
) -> None:
    upload(REFUSAL)
    await refused(pipeline, ANN)
    later()
    assert [await model_for(pipeline, ANN, task) for task in (None, "title_generation")] == ["chat", "chat"]
    await set_valves(pipeline, timeout_seconds=PATIENCE - 1)
    assert await model_for(pipeline, ANN) == REFUSAL


@pytest.mark.parametrize(("offered", "model"), [(True, "qwen3guard_models.~refusal"), (False, "chat")])
async def test_the_guarded_models_refusal_entry_is_asked_if_it_is_offered(
    pipeline: Pipeline, upload: Callable[[str], Pipeline], tmp_path: Path, offered: bool, model: str
) -> None:
    upload("qwen3guard_models")
    (tmp_path / "qwen3guard_models").mkdir()
    (tmp_path / "qwen3guard_models/valves.json").write_text(json.dumps({"refusal_entry": offered}))
    await set_valves(pipeline, refusal_model="qwen3guard_models.~refusal")
    assert await model_for(pipeline, ANN) == model


async def test_notes_are_few_and_hold_no_names(
    pipeline: Pipeline, upload: Callable[[str], Pipeline], tmp_path: Path
) -> None:
    refusal = upload(REFUSAL)
    sent = await refused(pipeline, ANN)
    await asyncio.to_thread(lambda: [answers(refusal, sent, {"id": str(n), "role": "user"}) for n in range(200)])
    names = [path.name for path in (tmp_path / REFUSAL / "notices").iterdir()]
    assert 100 < len(names) < 210
    # So there are at most 4096 of each kind.
    assert all(len(name.rpartition("-")[2]) == 3 for name in names)
