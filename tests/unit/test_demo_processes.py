"""Children under the real Supervisor. Small web servers replace the large ones."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from demo.errors import ChildFailed, NotBuilt, NotReady, StackError
from demo.stack.children import Child
from demo.stack.ports import HOST
from demo.stack.processes import Processes
from demo.state import State
from tests.stands.servers import free_ports
from tests.stands.waiting import PATIENCE

PORTS = free_ports()


def server(name: str, port: int, **more: object) -> Child:
    """A web server that lists its working folder."""
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", HOST]
    return Child(name=name, argv=argv, health=f"http://{HOST}:{port}/", patience=PATIENCE, **more)  # type: ignore[arg-type]


def ended(name: str, code: str, **environment: str) -> Child:
    """A program that ends at once."""
    argv = [sys.executable, "-c", code]
    return Child(name=name, argv=argv, health=f"http://{HOST}:1/", patience=PATIENCE, environment=environment)


def quiet(line: str) -> None:
    """A `say` that prints nothing."""


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "a folder with 100% blanks, and a comma")


@pytest.fixture
def pair(state: State) -> Iterator[Processes]:
    (state.folder / "hello").touch()
    processes = Processes([server("guard", PORTS.guard, cwd=state.folder), server("webui", PORTS.webui)], state)
    try:
        processes.start_all()
        for name in processes.children:
            processes.wait_healthy(name, quiet)
        yield processes
    finally:
        processes.stop_all()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/").is_success
    except httpx.TransportError:
        return False


def test_one_child_stops_and_starts_while_the_other_runs_on_and_all_end_together(pair: Processes) -> None:
    pair.stop("guard")
    pair.stop("guard")
    assert not answers(PORTS.guard)
    assert answers(PORTS.webui)
    pair.check()
    pair.start("guard")
    pair.wait_healthy("guard", quiet)
    assert "hello" in httpx.get(f"http://{HOST}:{PORTS.guard}/").text
    pair.stop_all()
    assert not answers(PORTS.guard)
    assert not answers(PORTS.webui)


def test_a_stop_by_another_process_is_an_error_that_says_so(pair: Processes) -> None:
    config = pair.state.folder / "supervisord.conf"
    stop = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(config), "shutdown"]
    subprocess.run(stop, check=True, capture_output=True)
    with pytest.raises(ChildFailed, match=r"make stop|Supervisor"):
        pair.check()


def test_a_killed_child_is_an_error(pair: Processes) -> None:
    (process,) = [child for child in psutil.Process().children(recursive=True) if str(PORTS.guard) in child.cmdline()]
    process.kill()
    with pytest.raises(ChildFailed, match=r"guard ended by itself \(killed\)"):
        pair.wait_healthy("guard", quiet)


def test_a_child_that_ends_is_an_error_with_its_log_and_it_had_its_environment(state: State) -> None:
    odd = "100% of a=b, c; '#d"
    code = "import os, sys; print('out of luck', repr(os.environ['ODD'])); sys.exit(3)"
    processes = Processes([ended("guard", code, ODD=odd)], state)
    try:
        processes.start_all()
        with pytest.raises(ChildFailed) as caught:
            processes.wait_healthy("guard", quiet)
    finally:
        processes.stop_all()
    for part in ("guard ended by itself (exit status 3)", f"out of luck {odd!r}", str(state.log("guard"))):
        assert part in str(caught.value)


def test_a_child_that_never_answers_is_an_error_after_its_time_limit(state: State) -> None:
    argv = [sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(60)"]
    processes = Processes([Child("guard", argv, health=f"http://{HOST}:1/", patience=0.5)], state)
    try:
        processes.start_all()
        with pytest.raises(NotReady, match="guard did not answer"):
            processes.wait_healthy("guard", quiet)
    finally:
        processes.stop_all()


def test_a_value_that_cannot_be_passed_on_is_an_error(state: State) -> None:
    processes = Processes([server("webui", PORTS.webui, environment={"ODD": 'a "b"'})], state)
    with pytest.raises(StackError, match="ODD"):
        processes.start_all()
    processes.stop_all()


def test_a_program_that_is_not_built_is_an_error_before_anything_starts(state: State, tmp_path: Path) -> None:
    missing = Child("guard", [str(tmp_path / "bin/python")], health=f"http://{HOST}:1/", patience=1)
    processes = Processes([server("webui", PORTS.webui), missing], state)
    with pytest.raises(NotBuilt, match="make"):
        processes.start_all()
    assert not answers(PORTS.webui)


def test_a_secret_is_created_once_and_readable_by_its_owner_only(state: State) -> None:
    key = state.secret("pipelines_key")
    assert len(key) >= 16
    assert State(state.folder).secret("pipelines_key") == key
    assert state.secret("webui_key") != key
    assert (state.folder / "secrets.json").stat().st_mode & 0o077 == 0
