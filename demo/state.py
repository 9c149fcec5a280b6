"""The folder with the persistent state of one stack: data, logs, secrets."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"


class State:
    """Paths below one folder, and secrets that are created once and kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        for path in (self.folder, self.webui, self.pipelines, self.logs):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def webui(self) -> Path:
        """Open WebUI's data folder: its database and uploads."""
        return self.folder / "webui"

    @property
    def pipelines(self) -> Path:
        """The Pipelines server's folder: uploaded files, and next to each a folder with its valves."""
        return self.folder / "pipelines"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def audit(self) -> Path:
        """The folder of the filter's audit files, one JSON line per decision."""
        return self.folder / "audit"

    @property
    def chat_log(self) -> Path:
        """The requests to the scripted chat model, one JSON line each."""
        return self.logs / "chat_requests.jsonl"

    def log(self, name: str) -> Path:
        """The output of the named program since the stack last started."""
        return self.logs / f"{name}.log"

    def secret(self, name: str) -> str:
        """The secret of that name, created at the first call. Its file is readable by this user only."""
        path = self.folder / "secrets.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if name not in known:
            known[name] = secrets.token_urlsafe(12)
            path.touch(mode=0o600)
            path.write_text(json.dumps(known, indent=2) + "\n")
        return str(known[name])

    @property
    def wired(self) -> list[str]:
        """The addresses that Open WebUI was connected to at the last start."""
        return list(json.loads(self._wired.read_text())) if self._wired.exists() else []

    @wired.setter
    def wired(self, urls: list[str]) -> None:
        self._wired.write_text(json.dumps(urls))

    @property
    def _wired(self) -> Path:
        return self.folder / "connections.json"
