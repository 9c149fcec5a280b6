"""A Pipelines server with several workers, to an installation: each request reaches one of them, by chance.

With real workers: tests/e2e/test_install_surroundings.py.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from guard_server.errors import CannotInstall
from guard_server.install import pipeline_places, steps
from guard_server.install.options import HostKind, Protect
from guard_server.install.pipeline_places import PipelineFile, PipelineValves
from guard_server.install.plugin_files import PIPELINES_MODELS
from guard_server.install.setting_places import PipelinesConnection
from guard_server.install.steps import Upload, undo
from guard_server.install.undo_record import UndoRecord
from guard_server.open_webui.client import WebuiClient
from tests.stands.admin_api import TOKEN
from tests.stands.servers import serve

SERVER = "http://pipelines:9099"
Body = dict[str, Any]


class Workers:
    """Open WebUI's API before a Pipelines server. Chance is the same in each run.

    A worker uses what another one has saved some requests later.
    """

    def __init__(self) -> None:
        self.loaded = [False] * 3
        self.valves: list[Body] = [{"guard_base_url": "", "guard_api_key": "EMPTY"} for _ in self.loaded]
        self.loads = True
        """Whether the file can be loaded."""
        self.follow_after = 10
        """Requests between a Save and the moment at which all workers use it."""
        self.connected = True
        self.file = False
        self._saved: tuple[int, Body] = (0, {})
        self._requests = 0
        self._chance = random.Random(3)
        valves = f"/api/v1/pipelines/{PIPELINES_MODELS}/valves"
        self.app = Starlette(
            routes=[
                Route("/openai/config", self._config),
                Route("/openai/config/update", self._configure, methods=["POST"]),
                Route("/api/v1/pipelines/", self._list),
                Route("/api/v1/pipelines/upload", self._upload, methods=["POST"]),
                Route("/api/v1/pipelines/delete", self._delete, methods=["DELETE"]),
                Route(valves, self._valves),
                Route(f"{valves}/update", self._save, methods=["POST"]),
            ]
        )

    def _next(self) -> int:
        self._requests += 1
        since, saved = self._saved
        if self._requests > since + self.follow_after:
            self.valves = [one | saved for one in self.valves]
        return self._chance.randrange(len(self.loaded))

    async def _config(self, request: Request) -> Response:
        urls = ["http://models/v1", SERVER] if self.connected else ["http://models/v1"]
        return JSONResponse(
            {"OPENAI_API_BASE_URLS": urls, "OPENAI_API_KEYS": ["k"] * len(urls), "OPENAI_API_CONFIGS": {}}
        )

    async def _configure(self, request: Request) -> Response:
        self.connected = SERVER in (await request.json())["OPENAI_API_BASE_URLS"]
        return JSONResponse({})

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": PIPELINES_MODELS}] if self.loaded[self._next()] else []})

    async def _upload(self, request: Request) -> Response:
        self.file = self.loads
        self.loaded[self._next()] = self.loads
        return JSONResponse({"status": True})

    async def _delete(self, request: Request) -> Response:
        worker = self._next()
        if not (self.loaded[worker] and self.file):
            return JSONResponse({"detail": "Pipeline not found"}, 404)
        self.file = self.loaded[worker] = False
        return JSONResponse({"status": True})

    async def _valves(self, request: Request) -> Response:
        worker = self._next()
        return JSONResponse(self.valves[worker]) if self.loaded[worker] else JSONResponse({"detail": "no"}, 404)

    async def _save(self, request: Request) -> Response:
        worker = self._next()
        self.valves[worker] = await request.json()
        self._saved = self._requests, dict(self.valves[worker])
        return JSONResponse({})


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
def client(workers: Workers) -> Iterator[WebuiClient]:
    with serve(workers.app) as url, WebuiClient(url, TOKEN) as client:
        yield client


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_places, "_PAUSE_SECONDS", 0)


FILE = PipelineFile(SERVER, PIPELINES_MODELS)
ADDRESS = PipelineValves(SERVER, PIPELINES_MODELS, ("guard_base_url",))
KEY = PipelineValves(SERVER, PIPELINES_MODELS, ("guard_api_key",))


def test_a_file_is_uploaded_until_all_workers_have_loaded_it(workers: Workers, client: WebuiClient) -> None:
    upload = Upload("Upload it", FILE, "text")
    workers.loaded = [False, True, False]
    assert not upload.is_done(client)
    upload.do(client)
    assert workers.loaded == [True] * 3
    assert upload.is_done(client)


def test_a_file_that_no_worker_can_load_is_said(workers: Workers, client: WebuiClient) -> None:
    workers.loads = False
    with pytest.raises(CannotInstall, match="could not load"):
        Upload("Upload it", FILE, "text").do(client)


def test_workers_that_never_load_it_are_said(
    workers: Workers, client: WebuiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "UPLOADS", 1)
    with pytest.raises(CannotInstall, match="Not all workers"):
        Upload("Upload it", FILE, "text").do(client)


def test_a_file_is_deleted_in_all_workers(workers: Workers, client: WebuiClient) -> None:
    workers.loaded, workers.file = [True] * 3, True
    FILE.write(client, None)
    assert (workers.loaded, workers.file) == ([False] * 3, False)
    assert FILE.read(client) is None


def test_no_valve_is_lost_that_another_worker_has_just_saved(workers: Workers, client: WebuiClient) -> None:
    workers.loaded = [True] * 3
    ADDRESS.write(client, {"guard_base_url": "http://guard/v1"})
    KEY.write(client, {"guard_api_key": "sk-guard"})
    assert workers.valves == [{"guard_base_url": "http://guard/v1", "guard_api_key": "sk-guard"}] * 3


def test_workers_that_do_not_follow_each_other_are_said(
    workers: Workers, client: WebuiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_places, "_FOLLOW_SECONDS", 0)
    workers.loaded, workers.follow_after = [True] * 3, 10**6
    with pytest.raises(CannotInstall, match="different valves"):
        ADDRESS.write(client, {"guard_base_url": "http://guard/v1"})


def begun(client: WebuiClient, folder: Path) -> UndoRecord:
    """The record of an installation that has connected the server and uploaded a plugin."""
    record = UndoRecord(folder / "record.json", client.url)
    record.begin(HostKind.PIPELINES, Protect.MODELS)
    for place in (PipelinesConnection(SERVER), FILE):
        record.note(place, None)
        record.settle(place, True)
    return record


def test_a_connection_stays_while_a_plugin_of_its_server_is_left(
    workers: Workers, client: WebuiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_places, "UPLOADS", 1)
    workers.loaded, workers.file = [True] * 3, True
    record = begun(client, tmp_path)
    said: list[str] = []
    left = undo(client, record, said.append)
    assert ["Restart the server" in left[0], "a plugin of it is left" in left[1]] == [True, True]
    assert workers.connected
    # A server that starts again loads only what is there.
    workers.loaded = [False] * 3
    assert undo(client, record, said.append) == []
    assert not workers.connected


def test_a_server_that_an_admin_has_disconnected_since_is_said(
    workers: Workers, client: WebuiClient, tmp_path: Path
) -> None:
    record = begun(client, tmp_path)
    workers.connected = False
    said: list[str] = []
    (left,) = undo(client, record, said.append)
    assert "is not connected any more" in left
