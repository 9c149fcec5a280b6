"""`make run`: starts and connects all servers, and runs until Ctrl-C.

HOST=pipelines|functions chooses what runs the plugins, PROTECTION=guarded|filter|both what protects the chats.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.panel import Panel

from demo.errors import StackError
from demo.screen import Screen
from demo.stack.ports import Ports
from demo.stack.stack import SAFE_PROMPT, UNSAFE_ANSWER_PROMPT, UNSAFE_PROMPT, Stack
from demo.state import ROOT
from demo.webui_client.host import Host
from demo.webui_client.protection import Protection
from demo.webui_client.provision import Connection

FOLDER = ROOT / ".run"

_GUARDED = """\
The models are guarded: answers are judged while they stream. To compare with the same model and
the filter alone: {both}"""
_PROTECTION = {
    (Host.PIPELINES, Protection.GUARDED): _GUARDED,
    (Host.PIPELINES, Protection.FILTER): """\
The models are connected directly, and the filter checks them: it sees an answer only when it is
complete, so an unsafe answer is on screen until then. Safer: {guarded}""",
    (Host.PIPELINES, Protection.BOTH): """\
Choose a model on the page: the guarded one judges answers while they stream. For the other
one, the filter checks an answer when it is complete, so an unsafe answer is on screen until then.""",
    (Host.FUNCTIONS, Protection.GUARDED): _GUARDED,
    (Host.FUNCTIONS, Protection.FILTER): """\
The filter judges prompts, and answers while they stream. It does not see titles and other tasks.
To cover them too: {guarded}""",
    (Host.FUNCTIONS, Protection.BOTH): """\
Choose a model on the page: the guarded one, or the same model with the filter. The answers of both
are judged while they stream.""",
}
_PLUGINS = {Host.PIPELINES: "Admin Panel > Settings > Pipelines", Host.FUNCTIONS: "Admin Panel > Functions"}
_SETTINGS = ("HOST", "PROTECTION", "MODEL", "UPSTREAM_BASE_URL")


def main() -> int:
    """Returns the exit status: 0 after Ctrl-C, 1 when something failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    try:
        with Stack(
            FOLDER,
            ports=Ports.from_environment(),
            guard=os.environ.get("MODEL") or "demo",
            host=Host.from_environment(),
            protection=Protection.from_environment(),
            upstream=Connection.upstream_from_environment(),
            say=screen.say,
        ) as stack:
            _welcome(screen.console, stack)
            stack.watch()
    except KeyboardInterrupt:
        screen.say("stopped")
        return 0
    except StackError as error:
        screen.fail(error)
        return 1
    return 0


def _welcome(console: Console, stack: Stack) -> None:
    lines = [
        f"Open [bold]{stack.webui_url}[/bold] and sign in",
        "",
        f"  as a user    {stack.user_account.email}    {stack.user_account.password}",
        f"  as the admin {stack.admin_account.email}   {stack.admin_account.password}",
        "",
        "Prompts to try (the page of a new chat suggests them):",
        f"  {SAFE_PROMPT:<46} is answered",
        f"  {UNSAFE_PROMPT:<46} is refused",
    ]
    if "chat" in stack.processes.children:
        lines.append(f"  {UNSAFE_ANSWER_PROMPT:<46} the answer is withheld")
    lines += [
        "",
        _PROTECTION[stack.host, stack.protection].format(
            guarded=command(os.environ, PROTECTION="guarded"), both=command(os.environ, PROTECTION="both")
        ),
        *(f"[yellow]Also connected, without guarded models: {url}[/yellow]" for url in stack.others),
        "",
        f"As the admin, find the plugins and their settings under {_PLUGINS[stack.host]}.",
        "To protect an Open WebUI of your own, see docs/install.md.",
        "",
        f"Logs: {_short(stack.state.logs)}   Audit: {_short(stack.state.audit)}",
        "Ctrl-C stops everything. The next `make run` keeps all chats and settings.",
    ]
    console.print(Panel("\n".join(lines), title="Qwen3Guard for Open WebUI", expand=False))
    if note := guard_note(os.environ):
        console.print(note, markup=False)


def command(environment: Mapping[str, str], **changed: str) -> str:
    """How to start the same with other settings."""
    settings = {name: environment[name] for name in _SETTINGS if environment.get(name)} | changed
    return " ".join([*(f"{name}={settings[name]}" for name in _SETTINGS if name in settings), "make run"])


def guard_note(environment: Mapping[str, str]) -> str:
    """What to expect of the demo guard, and what to run instead; empty if another guard is chosen."""
    if (environment.get("MODEL") or "demo") != "demo":
        return ""
    own = ""
    if environment.get("UPSTREAM_BASE_URL"):
        own = "With a chat model of your own, it withholds about one harmless answer in ten. "
    return (
        "The guard is the demo model, which is no protection: it recognises plain cases in English and Chinese; in "
        f"other languages far less. {own}`{command(environment, MODEL='gen-0.6b')}` uses Qwen3Guard-Gen-0.6B instead."
    )


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
