"""The tests of the guard and of other servers' dialects, with the `openai` SDK of older hosts.

The tests run in child processes with that SDK first on their path; each child first prints its version. The
ordinary run of the same tests has the newest SDK.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest

from demo.state import ROOT
from tests.stands.processes.pipelines_server import python_of
from tools.locks import ENVIRONMENTS, requirements

SUITE = [
    "tests/dialects",
    "tests/unit/test_guard.py",
    "tests/unit/test_stream_client.py",
    "tests/unit/test_transport.py",
]
OPENAI_VERSIONS = {name: requirements(name)[0] for name in ENVIRONMENTS if name.startswith("openai-")}
# The tests mostly wait for servers to end and for second attempts, but each child imports and collects all of them.
WORKERS = "3"
SECONDS = 1200
RUN = """
import importlib.metadata, pytest, sys
print("openai", importlib.metadata.version("openai"), flush=True)
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All children at once, by their environment."""
    started = {}
    for environment in OPENAI_VERSIONS:
        packages = next((python_of(environment).parent.parent / "lib").glob("python3.*")) / "site-packages"
        command = [sys.executable, "-c", RUN, "-n", WORKERS, "-q", "-p", "no:cacheprovider", *SUITE]
        variables = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}
        started[environment] = subprocess.Popen(
            command, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("environment", OPENAI_VERSIONS)
def test_the_guard_works_with_an_older_sdk(environment: str, runs: dict[str, subprocess.Popen[str]]) -> None:
    shown, _ = runs[environment].communicate(timeout=SECONDS)
    version = OPENAI_VERSIONS[environment].removeprefix("openai==")
    assert shown.splitlines()[0] == f"openai {version}"
    assert runs[environment].returncode == 0, shown[-8000:]
    assert " passed" in shown.splitlines()[-1]


def test_the_ordinary_run_has_a_newer_sdk() -> None:
    assert int(openai.__version__.partition(".")[0]) >= 3
