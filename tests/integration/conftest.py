"""Servers for many tests: real vLLM with the demo guard, started once, and a real Pipelines server for each module."""

from collections.abc import Iterator

import pytest

from tests.stands.processes.guard_process import KEY, GuardProcess, guard_process
from tests.stands.processes.guarded_server import GuardedServer, guarded_server


@pytest.fixture(scope="session")
def guard_server() -> Iterator[GuardProcess]:
    with guard_process("demo", key=KEY) as guard:
        guard.wait_for("Try it:")
        yield guard


@pytest.fixture(scope="session")
def guard_server_url(guard_server: GuardProcess) -> str:
    """Base URL for OpenAI clients, e.g. http://127.0.0.1:8000/v1. It asks for `guard_server_key`."""
    return guard_server.url


@pytest.fixture(scope="session")
def guard_server_key(guard_server: GuardProcess) -> str:
    assert guard_server.key is not None
    return guard_server.key


@pytest.fixture(scope="module")
def running_guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    with guarded_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def guarded(running_guarded_server: GuardedServer) -> GuardedServer:
    """Guarded models between a stub guard and a stub model, both reset to their defaults."""
    running_guarded_server.as_new()
    return running_guarded_server
