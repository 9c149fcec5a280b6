"""The single files of `dist/`, newly built and loaded like the Pipelines server does, with their valves and records."""

import importlib.util
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.stands.patience import lift_limits
from tests.stands.waiting import PATIENCE
from tools.bundle import build
from webui.bodies import Body

Pipeline = Any
"""The class `Pipeline` of any of the files: a loaded file has no types."""


@cache
def load_built(plugin: str) -> ModuleType:
    """The file that an admin installs, so tests use it. All tests of a process share it."""
    path = _folder() / f"{plugin}.py"
    path.write_text(build(plugin), encoding="utf-8")
    return load(path)


@cache
def _folder() -> Path:
    """One for all files, as in a Pipelines server."""
    return Path(tempfile.mkdtemp())


def load(path: Path) -> ModuleType:
    """Load by path, without an entry in `sys.modules`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lift_limits(vars(module))
    return module


@asynccontextmanager
async def started(pipeline: Pipeline, **valves: Any) -> AsyncIterator[Pipeline]:
    """The plugin, started with these valves, and stopped at the end."""
    pipeline.valves = type(pipeline.valves)(**valves)
    await pipeline.on_startup()
    try:
        yield pipeline
    finally:
        await pipeline.on_shutdown()


def _common(guard_url: str, folder: Path) -> Body:
    """The valves that every test sets."""
    return {"guard_base_url": guard_url, "timeout_seconds": PATIENCE, "audit_path": str(folder / "audit.jsonl")}


@asynccontextmanager
async def started_filter(guard_url: str, folder: Path, **valves: Any) -> AsyncIterator[Pipeline]:
    """The filter with a guard; `audited` reads its records in `folder`."""
    common = _common(guard_url, folder)
    async with started(load_built("qwen3guard_filter").Pipeline(), **common | valves) as pipeline:
        yield pipeline


@asynccontextmanager
async def started_models(guard_url: str, upstream_url: str, folder: Path, **valves: Any) -> AsyncIterator[Pipeline]:
    """Guarded models between a guard and an upstream; `audited` reads their records in `folder`."""
    ours = {"upstream_base_urls": upstream_url, "upstream_timeout_seconds": PATIENCE}
    common = _common(guard_url, folder) | ours
    async with started(load_built("qwen3guard_models").Pipeline(), **common | valves) as pipeline:
        yield pipeline


async def set_valves(pipeline: Pipeline, **values: Any) -> None:
    pipeline.valves = type(pipeline.valves)(**{**pipeline.valves.model_dump(), **values})
    await pipeline.on_valves_updated()


async def audited(pipeline: Pipeline, folder: Path) -> list[Body]:
    """All audit records, once the plugin has stopped."""
    await pipeline.on_shutdown()
    return [json.loads(line) for file in folder.glob("audit-*.jsonl") for line in file.read_text().splitlines()]
