"""Guarded models between a guard and a chat model that do as they are told."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.guarded_models import MODELS, Pipeline
from tests.servers import serve
from tests.stub_model import StubModel
from tests.waiting import PATIENCE


@pytest.fixture
def model() -> StubModel:
    return StubModel()


@pytest.fixture
def model_url(model: StubModel) -> Iterator[str]:
    with serve(model.app) as url:
        yield f"{url}/v1"


@pytest.fixture
async def pipeline(guard_url: str, model_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    pipeline = MODELS.Pipeline()
    pipeline.valves = MODELS.ModelsValves(
        guard_base_url=guard_url,
        timeout_seconds=PATIENCE,
        audit_path=str(tmp_path / "audit.jsonl"),
        upstream_base_urls=model_url,
        upstream_api_keys="sk-secret",
        upstream_timeout_seconds=PATIENCE,
    )
    await pipeline.on_startup()
    yield pipeline
    await pipeline.on_shutdown()
