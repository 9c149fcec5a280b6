"""The command `serve` with all that the user sees, from the checks before vLLM starts to vLLM's last line."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from guard_server.catalog import Model, find
from guard_server.console_output import out, warn_if_open
from guard_server.serve import checkpoint, hardware
from guard_server.serve.chat_template import with_prefill
from guard_server.serve.launch import ServeOptions, plan
from guard_server.serve.vllm_process import Stopped, VllmServer, check_plugins, check_port

_TRANSIENT_SECONDS = 10.0


def serve(name: str, options: ServeOptions) -> None:
    """Serve the model of that name until it is stopped. Raises `GuardServerError`."""
    # A wrong name is reported first: the user can mend it at once, and vLLM takes minutes to install.
    find(name)
    machine = hardware.detect()
    check_port(options.host, options.port)
    guard = checkpoint.load(name, options.hub)
    with tempfile.TemporaryDirectory(prefix="guard-server-") as folder:
        # vLLM reads the template once, while it starts.
        template = Path(folder, "chat_template.jinja")
        # A Stream guard generates no text, so it needs no prefill.
        text = guard.template if guard.stream else with_prefill(guard.template)
        template.write_text(text, encoding="utf-8")
        launch = plan(options, guard, machine, template)
        check_plugins(launch.plugins)
        out.print(f"Serving {guard.source} on the {machine.device.upper()}.", markup=False)
        for note in launch.notes:
            out.print(f"  {note}", markup=False)
        warn_if_open(options.host, options.api_key)
        relay = _Relay(guard.served_names[0])
        try:
            with VllmServer(launch, options.host, options.port, options.api_key, relay.line) as server:
                with relay.loading():
                    server.wait_until_healthy()
                    names, context, warnings = server.first_verdict(stream=guard.stream)
                for warning in warnings:
                    out.print(f"Warning: {warning}", style="yellow", markup=False)
                _ready(server.url, names, context, options.api_key is not None, guard.stream, relay.seconds)
                if guard.model is not None and guard.model.demo:
                    out.print(_demo_notice(guard.model))
                server.wait()
        except Stopped:
            out.print("Stopped.")


class _Relay:
    """Prints vLLM's lines as they come. On a terminal, also shows how long it has been loading."""

    def __init__(self, name: str) -> None:
        self._start = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=out, transient=True
        )
        self._task = self._bar.add_task(f"loading {name}", total=None)
        self._loading = False
        self._last_transient = -_TRANSIENT_SECONDS

    @property
    def seconds(self) -> int:
        return round(time.monotonic() - self._start)

    @contextmanager
    def loading(self) -> Iterator[None]:
        if not out.is_terminal:
            yield
            return
        self._loading = True
        with self._bar:
            yield
        self._loading = False

    def line(self, text: str, transient: bool) -> None:
        """`transient` lines (progress bars) are shown next to the clock; without a terminal, only some are printed."""
        if transient and self._loading:
            if text:
                self._bar.update(self._task, description=escape(text))
            return
        if transient:
            if time.monotonic() - self._last_transient < _TRANSIENT_SECONDS:
                return
            self._last_transient = time.monotonic()
        if text:
            out.print(text, style="dim", markup=False)


def _ready(url: str, names: list[str], context: int, key: bool, stream: bool, seconds: int) -> None:
    text = f"address   {url}\nmodel     {' or '.join(names)}, {context} tokens\nkey       {'needed' if key else 'none'}"
    out.print(Panel(text, title=f"Ready after {seconds} s", border_style="green", expand=False))
    header = '-H "Authorization: Bearer $GUARD_API_KEY" ' if key else ""
    hello = {"role": "user", "content": "Good morning!"}
    body: dict[str, Any] = {"model": names[0], "messages": [hello]}
    path = "chat/completions"
    if stream:
        path, body = "guard/stream", {"messages": [hello], "text": "Good morning! How are you?", "end": True}
    out.print("Try it:", markup=False)
    out.print(f"curl {url}/{path} {header}-H 'Content-Type: application/json' -d '{json.dumps(body)}'", markup=False)


def _demo_notice(model: Model) -> Panel:
    text = (
        "A model of a few megabytes that shows how everything works together.\n"
        "It misses harmful text and blocks harmless text. For real use:\n\n"
        f"    qwen3guard serve {model.real}"
    )
    return Panel(text, title="DEMONSTRATION — NOT FOR PRODUCTION", border_style="bold red", expand=False)
