"""Marks tests by their folder, and gives all of them a guard that does as it is told."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from moderation.endpoint import Endpoint
from moderation.guard import Guard
from tests.servers import serve
from tests.stub_guard import StubGuard
from tests.waiting import PATIENCE

# An example may take as long as it wants: a slow machine is no error.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# As every Pipelines server should have one; tests of the default take it away.
os.environ.setdefault("PIPELINES_API_KEY", "a-key-for-tests")

_FOLDERS = ("integration", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder in _FOLDERS:
            if folder in Path(item.path).parts:
                item.add_marker(folder)


@pytest.fixture
def stub() -> StubGuard:
    return StubGuard()


@pytest.fixture
def guard_url(stub: StubGuard) -> Iterator[str]:
    with serve(stub.app) as url:
        yield f"{url}/v1"


@pytest.fixture
async def guard(guard_url: str) -> AsyncIterator[Guard]:
    guard = Guard(Endpoint(guard_url, timeout=PATIENCE), timeout=PATIENCE)
    yield guard
    await guard.aclose()
