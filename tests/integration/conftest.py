"""One guard for all integration tests: real vLLM with the demo guard, started once."""

from collections.abc import Iterator

import pytest

from tests.integration.guard_process import KEY, GuardProcess, guard_process


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
