"""`qwen3guard serve` as a subprocess, as a user starts it."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.state import ROOT
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE

KEY = "a-key-for-tests"
# Random weights of a real size take minutes on cores that other tests use too.
_START_SECONDS = 900


def guard_python() -> str:
    """The Python that has vLLM. If it is missing, the test fails and is not skipped."""
    python = Path(os.environ.get("GUARD_PYTHON", ROOT / ".venvs/guard/bin/python"))
    assert python.exists(), f"{python} is missing. Run `make install`, or set GUARD_PYTHON to a Python that has vLLM."
    return str(python)


class GuardProcess:
    """One run of `serve`; its output is read continuously, so that it never blocks."""

    def __init__(self, *arguments: str, port: int, key: str | None = None, env: dict[str, str] | None = None) -> None:
        self.port = port
        self.key = key
        self.lines: list[str] = []
        command = [guard_python(), "-m", "guard_server", "serve", *arguments, "--port", str(port)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "GUARD_API_KEY": key or "", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.root + "/v1"

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not any(words in line for line in self.lines):
            assert self.process.poll() is None, f"serve ended early:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"{words!r} did not come:\n{self.output[-4000:]}"
            time.sleep(0.1)

    def end(self) -> int:
        """The exit status, once it has ended by itself."""
        status = self.process.wait(timeout=PATIENCE)
        self._reader.join(timeout=PATIENCE)
        return status

    def session(self) -> int:
        """The session that vLLM's processes are in: the id of its first process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while not children.read_text().split():
            assert time.monotonic() < deadline, "no child was started"
            time.sleep(0.05)
        return int(children.read_text().split()[0])

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip())


@contextmanager
def guard_process(
    *arguments: str, key: str | None = None, env: dict[str, str] | None = None, port: int | None = None
) -> Iterator[GuardProcess]:
    guard = GuardProcess(*arguments, port=port or free_port(), key=key, env=env)
    try:
        yield guard
    finally:
        guard.process.terminate()
        try:
            guard.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            guard.process.kill()
            guard.process.wait()
            raise
        guard._reader.join(timeout=PATIENCE)


def processes_of(session: int) -> list[str]:
    """Names of the living processes of a session."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            names.append(name)
    return names
