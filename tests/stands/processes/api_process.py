"""`qwen3guard api` as a subprocess, as a user starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.state import ROOT
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE

KEY = "a-key-for-clients"
_START_SECONDS = 300
PROGRAM = (sys.executable, "-m", "guard_server")


class ApiProcess:
    """One run; its output is in `log` at any time."""

    def __init__(
        self, log: Path, guard_url: str, guard_key: str | None, *options: str, program: Sequence[str] = PROGRAM
    ) -> None:
        self.root = f"http://127.0.0.1:{(port := free_port())}"
        self.url = f"{self.root}/v1"
        self._log = log
        command = [*program, "api", "--guard-url", guard_url, "--port", str(port), *options]
        keys = {"GUARD_API_KEY": guard_key or "", "MODERATION_API_KEY": KEY}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | keys, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self.process.poll() is None, self.output
            try:
                httpx.get(self.root, trust_env=False)
            except httpx.TransportError:
                assert time.monotonic() < deadline, self.output
                time.sleep(0.1)
            else:
                return


@contextmanager
def api_process(
    log: Path, guard_url: str, guard_key: str | None = None, *options: str, program: Sequence[str] = PROGRAM
) -> Iterator[ApiProcess]:
    api = ApiProcess(log, guard_url, guard_key, *options, program=program)
    try:
        api.wait_until_ready()
        yield api
    finally:
        api.process.terminate()
        try:
            api.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            api.process.kill()
            api.process.wait()
