"""The cost of loading the plugins: each alone, and all of them uploaded to a running server."""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.stands.processes.pipelines_server import KEY, PipelinesServer, python_of
from tests.stands.uploads import plugins, watched

# Loads a file as the Pipelines server does. The host's own packages are imported before: its web framework, and the
# libraries that it has for plugins.
_LOAD = """
import importlib.util, json, sys, time
import fastapi, uvicorn, aiohttp, openai, pydantic
started = time.perf_counter()
spec = importlib.util.spec_from_file_location("plugin", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.Pipeline()
print(json.dumps((time.perf_counter() - started) * 1000))
"""


def import_ms(runs: int, environment: str = "pipelines") -> dict[str, float]:
    """Milliseconds that each file of dist/ takes to load in a fresh process, its compilation included; medians."""
    with tempfile.TemporaryDirectory() as folder:
        return {file.stem: statistics.median(_loads(environment, file, Path(folder), runs)) for file in plugins()}


def _loads(environment: str, file: Path, folder: Path, runs: int) -> Iterator[float]:
    copy = folder / file.name
    copy.write_bytes(file.read_bytes())
    # An uploaded file is compiled, so no cached bytecode may be used.
    command = [str(python_of(environment)), "-B", "-W", "ignore", "-c", _LOAD, str(copy)]
    variables = {**os.environ, "PIPELINES_API_KEY": KEY}
    for _ in range(runs):
        yield float(json.loads(subprocess.check_output(command, text=True, env=variables)))


def upload_block_s(server: PipelinesServer) -> float:
    """The longest time, in seconds, in which a Pipelines server does not answer while each file of dist/ is uploaded,
    for the first time or again."""
    with watched(server.url) as silences:
        for file in plugins():
            server.upload(file)
    return max(silences)
