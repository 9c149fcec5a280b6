"""Several workers of one Pipelines server: each has the valves in its own memory, and Save reaches one of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from tests.stands.chats import BOMB, user
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.processes.pipelines_server import FILTER, KEY, PipelinesServer, pipelines_server
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE, wait_until

MODELS = "qwen3guard_models"
# Answers with the process that was asked.
WHO = """import os

class Pipeline:
    def __init__(self):
        self.type, self.name = "filter", "who"

    async def inlet(self, body, user=None):
        return {"worker": os.getpid()}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelinesServer]:
    folder = tmp_path_factory.mktemp("workers")
    who = folder / "who.py"
    who.write_text(WHO)
    with ExitStack() as stack:
        guard = stack.enter_context(serve(StubGuard().app))
        upstream = stack.enter_context(serve(StubModel().app))
        valves = {"GUARD_BASE_URL": f"{guard}/v1", "UPSTREAM_BASE_URLS": f"{upstream}/v1", "TIMEOUT_SECONDS": PATIENCE}
        variables = {f"QWEN3GUARD_{name}": str(value) for name, value in valves.items()}
        yield stack.enter_context(
            pipelines_server("pipelines", folder, [FILTER, MODELS], variables, files=[who], workers=2)
        )


@pytest.fixture(scope="module")
def workers(server: PipelinesServer) -> Iterator[list[httpx.Client]]:
    """A client of each worker: a connection stays with the worker that accepted it."""
    found: dict[int, httpx.Client] = {}
    with ExitStack() as stack:

        def both_found() -> bool:
            kept = httpx.Limits(keepalive_expiry=None)
            client = httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False, limits=kept)
            stack.enter_context(client)
            client.headers["Authorization"] = f"Bearer {KEY}"
            reply = client.post("/who/filter/inlet", json={"body": {}}).raise_for_status()
            found.setdefault(reply.json()["worker"], client)
            return len(found) == 2

        wait_until(both_found)
        yield list(found.values())


def valves(worker: httpx.Client, plugin: str) -> dict[str, Any]:
    found: dict[str, Any] = worker.get(f"/{plugin}/valves").raise_for_status().json()
    return found


def save(worker: httpx.Client, plugin: str, **values: Any) -> None:
    worker.post(f"/{plugin}/valves/update", json=valves(worker, plugin) | values).raise_for_status()


def names(worker: httpx.Client) -> set[str]:
    return {model["name"] for model in worker.get("/models").raise_for_status().json()["data"]}


def sent(worker: httpx.Client) -> list[dict[str, Any]]:
    """What the filter makes of an unsafe prompt."""
    form = {"body": {"model": "chat", "messages": [user(BOMB)]}, "user": {"id": "u", "role": "user"}}
    messages: list[dict[str, Any]] = worker.post(f"/{FILTER}/filter/inlet", json=form).json()["messages"]
    return messages


def passes(worker: httpx.Client) -> bool:
    return sent(worker) == [user(BOMB)]


def refuses(worker: httpx.Client) -> bool:
    return not passes(worker)


def test_the_filter_of_each_worker_uses_what_any_of_them_saved(workers: list[httpx.Client]) -> None:
    for saving, other in (workers, workers[::-1]):
        save(saving, FILTER, mode="monitor")
        wait_until(partial(passes, other))
        save(saving, FILTER, mode="enforce")
        wait_until(partial(refuses, other))
        assert valves(saving, FILTER) == valves(other, FILTER)
        assert BOMB not in str(sent(saving))


def test_each_worker_lists_guarded_models_by_what_any_of_them_saved(workers: list[httpx.Client]) -> None:
    saving, other = workers
    save(saving, MODELS, model_names="{model} by the first")
    wait_until(lambda: any(name.endswith(" by the first") for name in names(other)))
    save(other, MODELS, model_names="{model} by the second")
    wait_until(lambda: any(name.endswith(" by the second") for name in names(saving)))
    assert valves(saving, MODELS) == valves(other, MODELS)


def test_half_a_file_changes_nothing(server: PipelinesServer, workers: list[httpx.Client]) -> None:
    file = server.folder / FILTER / "valves.json"
    saved = file.read_text()
    before = valves(workers[0], FILTER)
    file.write_text(saved[: len(saved) // 2])
    save(workers[0], MODELS, model_names="{model} seen")
    # The file of the other plugin is read at the same intervals.
    wait_until(lambda: any(name.endswith(" seen") for name in names(workers[1])))
    assert [valves(worker, FILTER) for worker in workers] == [before, before]
    file.write_text(saved.replace('"strict"', '"loose"'))
    wait_until(lambda: all(valves(worker, FILTER)["strictness"] == "loose" for worker in workers))
