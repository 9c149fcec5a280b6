"""Marks tests by their folder, groups those that share servers, and gives all tests a stub guard."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.parsing import parse_without_collections
from tests.stands.patience import lift_limits_of_modules
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

parse_without_collections()
lift_limits_of_modules()

# A shell that runs tests in the background lets them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take any time: a slow machine is no error.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# Every Pipelines server should have a key; tests of the default remove it.
os.environ.setdefault("PIPELINES_API_KEY", "a-key-for-tests")

# Several engines run on the same cores, so waiting threads must not spin (a variable of libgomp, which torch uses).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_FOLDERS = ("integration", "e2e")
_SHARED = {
    "guard_server": (
        *("test_api", "test_benchmarks", "test_doctor", "test_eval", "test_guard_on_vllm", "test_litellm_proxy"),
        *("test_pipelines_server", "test_serve", "test_upstream_dialects_on_vllm", "test_verdicts_on_vllm"),
    ),
    "stack": (
        *("test_admin_page", "test_answers", "test_bystanders", "test_gaps", "test_guard_trouble", "test_paths"),
        *("test_prompts", "test_upload"),
    ),
    "guarded_stack": (
        *("test_guarded_page", "test_guarded_page_dialects", "test_guarded_page_limits", "test_guarded_page_tasks"),
        *("test_guarded_page_real_guard", "test_guarded_page_retract", "test_guarded_page_stream"),
        *("test_guarded_page_trouble", "test_guarded_surroundings"),
        *(
            "test_function_gaps",
            "test_function_guard_trouble",
            "test_function_install",
            "test_function_models",
            "test_function_programs",
        ),
    ),
}
"""Fixtures that start servers for several files, and those files."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-models", action="store_true", help="serve all six published models, not one of each kind")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder in _FOLDERS:
            if folder in Path(item.path).parts:
                item.add_marker(folder)
        for fixture in _SHARED.keys() & set(getattr(item, "fixturenames", ())):
            if item.path.stem not in _SHARED[fixture]:
                raise pytest.UsageError(f"{item.path} has the fixture {fixture}: name the file in tests/conftest.py.")


# xdist's own groups have no effect with pytest 9.2 (pytest-xdist 3.8.0).
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByServer(config, log)


class _ByServer(LoadScopeScheduling):  # type: ignore[misc]
    """With `-n`, all tests that share a server run in one process, one after another; any other test runs anywhere."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        if path.parent.name not in _FOLDERS:
            return nodeid
        shared = next((fixture for fixture, files in _SHARED.items() if path.stem in files), path.stem)
        # The hosts have servers of their own: see the mark `on`.
        apart = shared == "guarded_stack" and "functions-" in nodeid.partition("[")[2]
        return f"functions_{shared}" if apart else shared


@pytest.fixture
def stub() -> StubGuard:
    return StubGuard()


@pytest.fixture
def guard_url(stub: StubGuard) -> Iterator[str]:
    with serve(stub.app) as url:
        yield f"{url}/v1"


@pytest.fixture
def endpoint(guard_url: str) -> Endpoint:
    """The endpoint of `guard`, which closes it."""
    return Endpoint(guard_url, timeout=PATIENCE)


@pytest.fixture
async def guard(endpoint: Endpoint) -> AsyncIterator[Guard]:
    guard = Guard(endpoint, timeout=PATIENCE)
    yield guard
    await guard.aclose()
