"""Runs programs that need torch in the guard's environment, for tests that run without torch."""

import os
import subprocess
from pathlib import Path

from demo.state import ROOT
from guard_server.vllm_plugin import MODEL
from tests.stands.processes.guard_process import guard_python

_MAKE = (
    "import sys, pathlib; from tests.stands.checkpoints.stream_reference import *; "
    "make(pathlib.Path(sys.argv[1]), Shape({shape}))"
)


def run(*arguments: str, stdin: str = "") -> str:
    """The output of Python, started with `arguments`."""
    environment = {
        **os.environ,
        "VLLM_PLUGINS": MODEL,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "TORCH_COMPILE_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [guard_python(), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def make_checkpoint(folder: Path, **shape: object) -> None:
    """A Qwen3Guard-Stream with random weights: see `tests.stands.checkpoints.stream_reference.Shape`."""
    fields = ", ".join(f"{name}={value!r}" for name, value in shape.items())
    run("-c", _MAKE.format(shape=fields), str(folder))
