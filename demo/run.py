"""`make run`: starts and connects all servers, and runs until Ctrl-C.

HOST=pipelines|functions chooses what runs the plugins, PROTECTION=guarded|filter|both what protects the chats.
"""

from __future__ import annotations

import os
import signal
import sys
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
The models are guarded: answers are judged while they stream.
PROTECTION=both make run also connects the same model behind the filter alone, to compare."""
_PROTECTION = {
    (Host.PIPELINES, Protection.GUARDED): _GUARDED,
    (Host.PIPELINES, Protection.FILTER): """\
The models are connected directly, and the filter checks them: it sees an answer only when it is
complete, so an unsafe answer is on screen until then. PROTECTION=guarded make run is safer.""",
    (Host.PIPELINES, Protection.BOTH): """\
Choose a model on the page: the guarded one judges answers while they stream. For the other
one, the filter checks an answer when it is complete, so an unsafe answer is on screen until then.""",
    (Host.FUNCTIONS, Protection.GUARDED): _GUARDED,
    (Host.FUNCTIONS, Protection.FILTER): """\
The filter judges prompts, and answers while they stream. It does not see titles and other tasks:
PROTECTION=guarded make run covers them too.""",
    (Host.FUNCTIONS, Protection.BOTH): """\
Choose a model on the page: the guarded one, or the same model with the filter. The answers of both
are judged while they stream.""",
}


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
        _PROTECTION[stack.host, stack.protection],
        *(f"[yellow]Also connected, without guarded models: {url}[/yellow]" for url in stack.others),
        "",
        f"Logs: {_short(stack.state.logs)}   Audit: {_short(stack.state.audit)}",
        "Ctrl-C stops everything. The next `make run` keeps all chats and settings.",
    ]
    console.print(Panel("\n".join(lines), title="Qwen3Guard for Open WebUI", expand=False))
    if not os.environ.get("MODEL"):
        console.print(
            "The guard is the demo model: it recognises plain cases only and is no protection. "
            "`MODEL=gen-0.6b make run` uses Qwen3Guard-Gen-0.6B."
        )


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
