"""`qwen3guard install` in a process of its own, as an admin runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.text import Text

from demo.state import ROOT
from tests.e2e.guarded_stack import UPSTREAM_KEY
from tests.e2e.plain_webui import PlainWebui
from tests.e2e.protection_check import DOCUMENTED
from tests.stands.waiting import PATIENCE, wait_until

_GUARD_KEY = "sk-guard-secret"
_DOCUMENTED_RECORD = "~/.local/state/qwen3guard/install-localhost-3000.json"


class InstallCommand:
    """The command for one Open WebUI. `shown` is the last output with its colours, at the address of the guides."""

    def __init__(self, plain: PlainWebui, folder: Path, columns: int = 100) -> None:
        self.plain = plain
        self.record = folder / "record.json"
        self.shown = ""
        self._columns = columns

    def run(self, *options: str, status: int = 0, **environment: str) -> str:
        """What it says. The protection check at its end is left out, unless the options want it."""
        stack = self.plain.stack
        with self._started(options, environment) as process:
            shown, _ = process.communicate(timeout=PATIENCE)
        self.shown = shown.replace(stack.webui_url, DOCUMENTED).replace(str(self.record), _DOCUMENTED_RECORD)
        said = Text.from_ansi(shown).plain
        print(said)
        assert process.returncode == status, said
        for secret in (*self._secrets.values(), UPSTREAM_KEY, stack.pipelines.key):
            assert secret not in said
            assert not self.record.exists() or secret not in self.record.read_text()
        return said

    def kill(self, *options: str, when: Callable[[], bool]) -> None:
        """Starts it, and ends it at that moment, so that it can do nothing more."""
        with self._started(options, {}) as process:
            wait_until(when)
            process.kill()
        assert process.returncode == -signal.SIGKILL

    @property
    def _secrets(self) -> dict[str, str]:
        return {"OPEN_WEBUI_TOKEN": self.plain.admin.token, "GUARD_API_KEY": _GUARD_KEY}

    def _started(self, options: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        stack = self.plain.stack
        arguments = [sys.executable, "-m", "guard_server", "install", "--webui", stack.webui_url, "--no-check"]
        arguments += ["--record", str(self.record), "--guard-url", stack.guard_url, *options]
        terminal = {"FORCE_COLOR": "1", "COLUMNS": str(self._columns)}
        variables = {**os.environ, **self._secrets, **terminal, **environment}
        return subprocess.Popen(
            arguments, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
