"""Guarded models between a stub guard and a stub chat model."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.stands.models.stub_model import StubModel
from tests.stands.plugins import Pipeline, started_models
from tests.stands.servers import serve


@pytest.fixture
def model() -> StubModel:
    return StubModel()


@pytest.fixture
def model_url(model: StubModel) -> Iterator[str]:
    with serve(model.app) as url:
        yield f"{url}/v1"


@pytest.fixture
async def pipeline(guard_url: str, model_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with started_models(guard_url, model_url, tmp_path, upstream_api_keys="sk-secret") as pipeline:
        yield pipeline
