"""The processes of `serve`, with small programs in place of vLLM; tests/integration/test_serve.py uses the real one."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guard_server.errors import PluginsMissing, PortTaken, VllmFailed
from guard_server.serve import process_group
from guard_server.serve.launch import Launch
from guard_server.serve.vllm_process import Stopped, VllmServer, check_plugins, check_port
from tests.stands.waiting import wait_until

ROOT = Path(__file__).parents[2]
# Replaces vLLM: starts a child that prints its process id, prints that id itself, and waits.
LEADER = """
import subprocess, sys, time
IMPORTS = "import os, signal, subprocess, sys, time\\n"
DEAF = IMPORTS + "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
def child(program, *arguments, **options):
    command = [sys.executable, "-I", "-S", "-c", IMPORTS + program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, **options).stdout.readline().decode().strip()
def orphan(**options):
    return child(f"subprocess.Popen([sys.executable, '-I', '-S', '-c', {DEAF!r}], **{options!r})")
print(%s, flush=True)
time.sleep(600)
"""
AGAIN = """
def again(*_): subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
signal.signal(signal.SIGTERM, again)
print(os.getpid(), flush=True)
while True: time.sleep(600)
"""
FAREWELL = """
def end(*_):
    time.sleep(0.5)
    open(sys.argv[1], "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print(os.getpid(), flush=True)
time.sleep(600)
"""
CHILDREN = {
    "one that ends when asked": "child('print(os.getpid(), flush=True); time.sleep(600)')",
    "one that ignores SIGTERM": "child(DEAF)",
    "one in a process group of its own": "child(DEAF, process_group=0)",
    "one in a session of its own": "child(DEAF, start_new_session=True)",
    "one that outlives its parent": "orphan()",
    "one that outlives its parent in a session of its own": "orphan(start_new_session=True)",
    "one that starts another when asked to end": f"child({AGAIN!r})",
}
ORPHANS = [name for name in CHILDREN if "outlives" in name]
SERVE = """
import sys, time
from guard_server.serve import process_group
from tests.unit.test_server import CHILDREN, LEADER, started
process_group.SECONDS = 0.2
lines = []
with started(LEADER % CHILDREN[sys.argv[1]], lines) as running:
    while not lines: time.sleep(0.02)
    print(running.process_id, *process_group.members(running.process_id), flush=True)
    time.sleep(600)
"""


def started(program: str, lines: list[str], **env: str) -> VllmServer:
    launch = Launch((sys.executable, "-c", program), env, {"FORCED": "ours"}, ())
    return VllmServer(launch, "127.0.0.1", 1, None, lambda text, transient: lines.append(text + "~" * transient))


def gone(process: int) -> bool:
    """Whether it has ended, or is a zombie."""
    return stat(process)[0] in "ZX"


def parent(process: int) -> int:
    return int(stat(process)[1])


def stat(process: int) -> list[str]:
    """The state of a process, the process id of its parent, and other fields."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "SECONDS", 0.2)


@contextmanager
def running_leader(child: str) -> Iterator[tuple[VllmServer, int, set[int]]]:
    """A running server, its first process, and all of its processes."""
    lines: list[str] = []
    with started(LEADER % child, lines) as running:
        wait_until(lambda: bool(lines))
        processes = process_group.members(running.process_id)
        said = int(lines[0])
        assert said in processes
        (leader,) = [one for one in processes - {said} if parent(one) == running.process_id]
        yield running, leader, processes


def test_a_signal_that_another_thread_receives_ends_the_wait(impatient: None) -> None:
    """The system chooses the thread, for example for what came while the process was stopped (SIGSTOP)."""
    ending = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))

    def wait(running: VllmServer) -> None:
        threading.Timer(0.3, ending.start).start()
        running.wait()

    with running_leader(CHILDREN["one that ends when asked"]) as (running, _, processes), pytest.raises(Stopped):
        wait(running)
    assert all(map(gone, processes))


def left_of(processes: set[int]) -> list[int]:
    return [process for process in processes if not gone(process)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("child", CHILDREN)
def test_leaving_the_context_ends_all_processes(child: str) -> None:
    with running_leader(CHILDREN[child]) as (running, _, processes):
        session = running.process_id
    assert left_of(processes) == []
    assert process_group.members(session) == set()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("child", ORPHANS)
def test_the_end_of_the_first_process_is_reported_when_all_the_others_have_ended(child: str) -> None:
    with running_leader(CHILDREN[child]) as (running, leader, processes):
        os.kill(leader, signal.SIGKILL)
        with pytest.raises(VllmFailed, match="status 137"):
            running.wait()
        assert left_of(processes) == []


@pytest.mark.parametrize("child", ORPHANS)
def test_a_killed_server_leaves_no_process(child: str) -> None:
    command = [sys.executable, "-c", SERVE, child]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as serve:
        assert serve.stdout is not None
        processes = {int(word) for word in serve.stdout.readline().split()}
        assert len(processes) >= 3
        serve.kill()
        wait_until(lambda: left_of(processes) == [])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("number", process_group.ENDING)
def test_a_signal_to_the_parent_process_of_vllm_ends_all(number: signal.Signals) -> None:
    with running_leader("orphan()") as (running, _, processes):
        os.kill(running.process_id, number)
        with pytest.raises(VllmFailed, match="status 143"):
            running.wait()
        assert left_of(processes) == []


def test_the_parent_process_of_vllm_may_be_killed() -> None:
    with running_leader("child(DEAF)") as (running, _, processes):
        os.kill(running.process_id, signal.SIGKILL)
        with pytest.raises(VllmFailed):
            running.wait()
        assert left_of(processes) == []


@pytest.mark.usefixtures("impatient")
def test_if_the_parent_process_of_vllm_is_stopped_all_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "KILL_SECONDS", 1.0)
    with running_leader("child(DEAF)") as (running, _, processes):
        os.kill(running.process_id, signal.SIGSTOP)
    assert left_of(processes) == []


def test_a_process_that_needs_time_to_end_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process_group, "SECONDS", 60.0)
    farewell = tmp_path / "farewell"
    # The first process ends at once. Only our code asks its child to end, and the child needs time for that.
    with running_leader(f"child({FAREWELL!r}, {str(farewell)!r}, start_new_session=True)") as (_, _, processes):
        assert not farewell.exists()
    assert farewell.exists()
    assert left_of(processes) == []


def test_an_early_end_is_reported_with_its_error_and_a_remedy() -> None:
    program = "import sys; print('ValueError: torch.OutOfMemoryError: CUDA out of memory'); sys.exit(3)"
    with started(program, []) as running, pytest.raises(VllmFailed, match="status 3: ValueError") as caught:
        running.wait_until_healthy()
    assert "smaller model" in caught.value.remedy


def test_progress_bars_are_distinguished_from_lines() -> None:
    lines: list[str] = []
    program = "import sys; sys.stdout.write('10%\\r20%\\rdone\\nnext\\n')"
    with started(program, lines) as running, pytest.raises(VllmFailed):
        running.wait_until_healthy()
    assert lines == ["10%~", "20%~", "done", "next"]


def test_the_users_variables_stay_unless_an_option_overrides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOSEN", "users")
    monkeypatch.setenv("VLLM_EMPTY", "")
    monkeypatch.setenv("FORCED", "users")
    lines: list[str] = []
    program = "import os; print(*(os.environ[name] for name in ('CHOSEN', 'FORCED', 'NEW', 'VLLM_EMPTY')))"
    with started(program, lines, CHOSEN="ours", NEW="ours", VLLM_EMPTY="ours") as running, pytest.raises(VllmFailed):
        running.wait_until_healthy()
    assert lines == ["users ours ours ours"]


def test_a_reader_that_has_left_does_not_block_vllm() -> None:
    def say(text: str, transient: bool) -> None:
        raise BrokenPipeError

    program = "print('x' * 200_000)\nfor _ in range(200_000): print('line')\nraise SystemExit(7)"
    launch = Launch((sys.executable, "-c", program), {}, {}, ())
    with (
        VllmServer(launch, "127.0.0.1", 1, None, say) as running,
        pytest.raises(VllmFailed, match="status 7"),
    ):
        running.wait_until_healthy()


def test_a_taken_port_is_reported_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)) as caught:
            check_port("127.0.0.1", port)
    assert f"--port {port + 1}" in caught.value.remedy
    check_port("127.0.0.1", port)


def test_the_address_shown_is_one_that_a_client_can_use() -> None:
    launch = Launch(("true",), dict(os.environ), {}, ())
    shown = [VllmServer(launch, host, 8000, None, print).url for host in ("0.0.0.0", "::", "guard.local")]
    assert shown == ["http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://guard.local:8000/v1"]


def test_a_plugin_that_is_not_installed_is_named_with_the_remedy() -> None:
    check_plugins(())
    with pytest.raises(PluginsMissing, match="no plugin qwen3guard_of_nobody") as caught:
        check_plugins(("qwen3guard_of_nobody",))
    assert "pip install" in caught.value.remedy


def test_plugins_that_the_user_named_for_vllm_are_loaded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "theirs")
    program = "import os; print(os.environ['VLLM_PLUGINS'], flush=True)"
    launch, lines = Launch((sys.executable, "-c", program), {}, {}, (), ("ours", "also_ours")), []
    with VllmServer(launch, "127.0.0.1", 1, None, lambda text, transient: lines.append(text)):
        wait_until(lambda: bool(lines))
    assert lines == ["ours,also_ours,theirs"]
