"""Every benchmark, with tiny sizes: each step runs, and the last line is the documented JSON object."""

import json
import subprocess
import sys

import pytest

from demo.state import ROOT
from tests.stands.processes import guard_environment
from tests.stands.processes.guard_process import GuardProcess

IN_GUARD_ENVIRONMENT = ("benchmarks.demo_bench", "benchmarks.gpu_bench", "benchmarks.stream_bench")


def quick(module: str, *options: str) -> dict[str, float]:
    """The figures of a run."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert all(isinstance(value, (int, float)) for value in figures.values())
    return figures


@pytest.mark.parametrize(
    ("module", "figure"),
    [
        ("filter_bench", "one_token_latency_ratio"),
        ("growth_bench", "uncached_tokens_ratio"),
        ("verdict_bench", "lean_ratio"),
    ],
)
def test_a_benchmark_with_a_real_guard_runs_to_its_end(guard_server: GuardProcess, module: str, figure: str) -> None:
    found = quick(module, "--guard-url", guard_server.url, "--guard-key", str(guard_server.key))
    assert found[figure] > 0


def test_the_benchmark_of_guarded_models_runs_to_its_end_and_leaks_nothing() -> None:
    found = quick("guarded_bench")
    assert found["total_added_ms"] != 0
    assert (found["leaked_chars"], found["leaked_chars_dialects"]) == (0, 0)


def test_the_benchmark_of_the_functions_runs_to_its_end_and_leaks_nothing() -> None:
    found = quick("functions_bench")
    assert found["total_added_ms"] != 0
    assert (found["leaked_chars"], found["models_leaked_chars"]) == (0, 0)


def test_the_other_benchmarks_can_be_imported_with_torch() -> None:
    """They measure models of real size, which takes minutes or a GPU."""
    guard_environment.run("-c", f"import {', '.join(IN_GUARD_ENVIRONMENT)}")
