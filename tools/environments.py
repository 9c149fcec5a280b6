"""Makes the environments of the checkout, in parallel: `python3 tools/environments.py dev guard ...`.

uv does the work: it installs the packages of an environment's lock in `locks/`. This script finds uv, runs it for each
environment whose lock has changed, shows its progress, and passes on the configuration of pip. It runs before anything
is installed, on any Python from 3.9 on, so it uses the standard library only.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"
LOCKS = ROOT / "locks"
LOGS = ROOT / ".run/logs"
# Installed if the PATH has no uv, or one that is older than `UV_OLDEST`, the oldest version that was tested.
UV_INSTALLED = "uv==0.13.9"
UV_OLDEST = (0, 13)
# All locks are for this version, which both hosts' own images have.
PYTHON = "3.11"
# uv does not read pip's configuration, so pip's options are passed to uv in these variables.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
}
# By a part of the output of a failed command.
REMEDIES = {
    "ensurepip": "On Debian and Ubuntu: apt install python3-venv. Or install uv yourself: https://docs.astral.sh/uv/",
    "No interpreter found": "Install Python 3.11. uv downloads it if it can reach GitHub or UV_PYTHON_INSTALL_MIRROR.",
    "Failed to fetch": "Is the package index reachable? For a mirror set UV_DEFAULT_INDEX, or pip's index-url.",
}
PROGRESS_SECONDS = 10


class BuildError(Exception):
    """An environment could not be built. The message gives the reason and the place of the log."""


class Environment:
    """One virtual environment below `.venvs`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = VENVS / name
        self.log = LOGS / f"venv-{name}.log"
        self.doing = "waiting"

    @property
    def record(self) -> Path:
        """The file that records what the environment was built for. It is written last."""
        return self.folder / "built-for.txt"

    def is_current(self) -> bool:
        """Whether it was built for the current lock and project."""
        return self._runs() and self.record.read_text(encoding="utf-8") == self._wanted()

    def build(self, uv: str, variables: Mapping[str, str]) -> None:
        """Install the packages of its lock; `variables` are for uv. Raises `BuildError`."""
        self.log.write_bytes(b"")
        if not self._runs():
            # This Python, if it has the right version; else uv finds or downloads one.
            python = sys.executable if sys.version_info[:2] == (3, 11) else PYTHON
            self._run([uv, "venv", "--clear", "--python", python, str(self.folder)], variables)
        try:
            # First from uv's cache, without a network.
            self._run([*self._sync(uv), "--offline"], variables)
        except BuildError:
            self._fetch(uv, variables)
        self.record.write_text(self._wanted(), encoding="utf-8")

    def install_uv(self) -> None:
        """Make this the environment that has uv, with pip. Raises `BuildError`."""
        self.log.write_bytes(b"")
        self._run([sys.executable, "-m", "venv", "--clear", str(self.folder)], {})
        self._run([str(self.folder / "bin/python"), "-m", "pip", "install", "--no-input", UV_INSTALLED], {})

    def _fetch(self, uv: str, variables: Mapping[str, str]) -> None:
        try:
            self._run(self._sync(uv), variables)
        except BuildError as error:
            # PyTorch's builds for the CPU are on PyTorch's own index, unless a mirror has them.
            if "+cpu" not in str(error):
                raise
            self._run([*self._sync(uv), "--torch-backend", "cpu"], variables)

    def _runs(self) -> bool:
        """Whether it was built in this folder, with a Python that still exists. A moved environment does not work."""
        if not (self.folder / "bin/python").exists() or not self.record.exists():
            return False
        return self.record.read_text(encoding="utf-8").startswith(f"{self.folder}\n")

    def _wanted(self) -> str:
        lock = (LOCKS / f"{self.name}.txt").read_text(encoding="utf-8")
        project = ""
        if "--editable ." in lock:
            # The part of pyproject.toml that affects an installation. The settings of other tools come after it.
            pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            project = re.split(r"^\[tool\.(?!hatch)", pyproject, maxsplit=1, flags=re.MULTILINE)[0]
        return f"{self.folder}\n{project}{lock}"

    def _sync(self, uv: str) -> list[str]:
        return [uv, "pip", "sync", "--python", str(self.folder), f"locks/{self.name}.txt"]

    def _run(self, command: list[str], variables: Mapping[str, str]) -> None:
        last: list[str] = []
        environment = {**os.environ, **variables}
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                if line.strip():
                    self.doing = line.strip()
                    last = [*last[-11:], self.doing]
        if process.returncode:
            remedy = next((f"\n{remedy}" for sign, remedy in REMEDIES.items() if sign in "\n".join(last)), "")
            lines = "\n".join(f"  {line}" for line in last)
            raise BuildError(f"{self.name} could not be built: {self.log} ends with\n{lines}{remedy}")


def find_uv() -> str:
    """The uv on the PATH, or the one in `.venvs/uv`, which is installed if necessary. Raises `BuildError`."""
    if found := shutil.which("uv"):
        shown = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        numbers = re.match(r"uv (\d+)\.(\d+)", shown)
        if numbers and (int(numbers[1]), int(numbers[2])) >= UV_OLDEST:
            return found
    uv = VENVS / "uv/bin/uv"
    if not uv.exists():
        print(f"installing {UV_INSTALLED} in .venvs/uv", flush=True)
        Environment("uv").install_uv()
    return str(uv)


def pip_configuration() -> str:
    """The output of `pip config list`; empty if there is no pip."""
    pip = shutil.which("pip") or shutil.which("pip3")
    if pip is None:
        return ""
    return subprocess.run([pip, "config", "list"], capture_output=True, text=True, check=False).stdout


def uv_variables(configuration: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that pass `configuration` on to uv, without those that `environment` already sets."""
    options: dict[str, str] = {}
    # Later sections win: pip's variables over its files.
    for section in ("global", "install", ":env:"):
        for line in configuration.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                options[name[len(section) + 1 :]] = " ".join(str(ast.literal_eval(value)).split())
    variables = {PIP_TO_UV[option]: value for option, value in options.items() if option in PIP_TO_UV}
    if "find-links" in options:
        variables["UV_FIND_LINKS"] = options["find-links"].replace(" ", ",")
    if "extra-index-url" in options:
        # As with pip, all indexes are equal. By default uv uses only the first index that has a package.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in variables.items() if name not in environment}


def build(environments: list[Environment], uv: str) -> None:
    """Build them in parallel and show the progress. Raises `BuildError` with all failures."""
    first = any(not environment.folder.exists() for environment in environments)
    size = "the first time takes minutes, and 5 GB for all; " if first else ""
    which = ", ".join(environment.name for environment in environments)
    print(f"building .venvs: {which} ({size}logs in {LOGS.relative_to(ROOT)})", flush=True)
    variables = uv_variables(pip_configuration(), os.environ)
    begun = said = time.monotonic()
    failures: list[BuildError] = []
    with ThreadPoolExecutor() as pool:
        running = {pool.submit(environment.build, uv, variables): environment for environment in environments}
        while running:
            time.sleep(0.1)
            for future in [future for future in running if future.done()]:
                environment = running.pop(future)
                error = future.exception()
                if isinstance(error, BuildError):
                    failures.append(error)
                elif error:
                    raise error
                # The others continue, so that their work need not be repeated.
                outcome = "failed" if error else "built"
                print(f"  {time.monotonic() - begun:4.0f} s  {environment.name}: {outcome}", flush=True)
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                for environment in running.values():
                    print(f"  {said - begun:4.0f} s  {environment.name}: {environment.doing[:90]}", flush=True)
    if failures:
        raise BuildError("\n".join(map(str, failures)))


def main(names: list[str]) -> None:
    locked = sorted(lock.stem for lock in LOCKS.glob("*.txt"))
    for name in names:
        if name not in locked:
            raise BuildError(f"There is no environment {name!r}; there are {', '.join(locked)}.")
    LOGS.mkdir(parents=True, exist_ok=True)
    missing = [environment for environment in map(Environment, names) if not environment.is_current()]
    if missing:
        build(missing, find_uv())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BuildError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
