"""The process part, with small programs in the place of vLLM; tests/integration/test_serve.py has the real one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guard_server import ender
from guard_server.errors import PluginsMissing, PortTaken, VllmFailed
from guard_server.launch import Launch
from guard_server.server import VllmServer, check_plugins, check_port

# Starts a child that ignores SIGTERM, as an engine does that hangs; then says its process id and waits.
STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def started(program: str, lines: list[str], **env: str) -> VllmServer:
    launch = Launch((sys.executable, "-c", program), env, {"FORCED": "ours"}, ())
    return VllmServer(launch, "127.0.0.1", 1, None, lambda text, transient: lines.append(text + "~" * transient))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def gone(process_id: str) -> bool:
    """Ended, or dead and not yet collected by the system."""
    stat = Path(f"/proc/{process_id}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


# Ends at once when asked to, but its child takes a second for it, as an engine's workers do.
LINGERING = STUBBORN.replace("signal.SIG_IGN", "lambda *_: (time.sleep(1), exit())")
# Its child leaves the process group, and stays in the session.
APART = STUBBORN.replace('child = "import', 'child = "import os; os.setpgid(0, 0); import')


@pytest.mark.parametrize("program", [STUBBORN, LINGERING, APART], ids=["stubborn", "lingering", "apart"])
def test_leaving_returns_when_every_process_has_ended(program: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ender, "SECONDS", 5.0 if program is LINGERING else 0.5)
    lines: list[str] = []
    with started(program, lines):
        until(lambda: bool(lines))
        assert not gone(lines[0])
    assert gone(lines[0])


def test_the_watchdog_ends_everything_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ender, "SECONDS", 0.5)
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    with process:
        assert process.stdout is not None
        child = process.stdout.readline().decode().strip()
        watchdog = ender.watch(process.pid)
        assert not gone(child)
        watchdog.communicate()  # Its input ends, as when the parent is killed.
        until(lambda: gone(child))


def test_an_early_end_is_told_with_its_error_and_a_remedy():
    program = "import sys; print('ValueError: torch.OutOfMemoryError: CUDA out of memory'); sys.exit(3)"
    with started(program, []) as running, pytest.raises(VllmFailed, match="status 3: ValueError") as caught:
        running.wait_until_healthy()
    assert "smaller model" in caught.value.remedy


def test_progress_bars_are_told_from_lines():
    lines: list[str] = []
    program = "import sys; sys.stdout.write('10%\\r20%\\rdone\\nnext\\n')"
    with started(program, lines) as running, pytest.raises(VllmFailed):
        running.wait_until_healthy()
    assert lines == ["10%~", "20%~", "done", "next"]


def test_what_the_user_set_stays_but_for_what_the_options_decide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHOSEN", "users")
    monkeypatch.setenv("VLLM_EMPTY", "")
    monkeypatch.setenv("FORCED", "users")
    lines: list[str] = []
    program = "import os; print(*(os.environ[name] for name in ('CHOSEN', 'FORCED', 'NEW', 'VLLM_EMPTY')))"
    with started(program, lines, CHOSEN="ours", NEW="ours", VLLM_EMPTY="ours") as running, pytest.raises(VllmFailed):
        running.wait_until_healthy()
    assert lines == ["users ours ours ours"]


def test_a_reader_that_went_away_does_not_block_vllm():
    def say(text: str, transient: bool) -> None:
        raise BrokenPipeError

    program = "print('x' * 200_000)\nfor _ in range(200_000): print('line')\nraise SystemExit(7)"
    launch = Launch((sys.executable, "-c", program), {}, {}, ())
    with (
        VllmServer(launch, "127.0.0.1", 1, None, say) as running,
        pytest.raises(VllmFailed, match="status 7"),
    ):
        running.wait_until_healthy()


def test_a_taken_port_is_said_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)) as caught:
            check_port("127.0.0.1", port)
    assert f"--port {port + 1}" in caught.value.remedy
    check_port("127.0.0.1", port)


def test_the_address_shown_is_one_that_a_client_can_use():
    launch = Launch(("true",), dict(os.environ), {}, ())
    shown = [VllmServer(launch, host, 8000, None, print).url for host in ("0.0.0.0", "::", "guard.local")]
    assert shown == ["http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://guard.local:8000/v1"]


def test_a_plugin_that_is_not_installed_is_named_with_the_remedy():
    check_plugins(())
    with pytest.raises(PluginsMissing, match="no plugin qwen3guard_of_nobody") as caught:
        check_plugins(("qwen3guard_of_nobody",))
    assert "pip install" in caught.value.remedy


def test_what_the_user_has_named_for_vllm_is_loaded_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_PLUGINS", "theirs")
    program = "import os; print(os.environ['VLLM_PLUGINS'], flush=True)"
    launch, lines = Launch((sys.executable, "-c", program), {}, {}, (), ("ours", "also_ours")), []
    with VllmServer(launch, "127.0.0.1", 1, None, lambda text, transient: lines.append(text)):
        until(lambda: bool(lines))
    assert lines == ["ours,also_ours,theirs"]
