"""Every target of the Makefile and every `python -m …` that the Makefile, the docs or CI name can be started."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from demo.state import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PHONY = " ".join(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)).split()
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("guard_server/**/*.md")})
SCRIPTS = [ROOT / "Makefile", *sorted((ROOT / ".ci").iterdir()), *sorted(ROOT.glob(".github/**/*.yml"))]
SCRIPTS += [ROOT / "docker-compose.yml", *sorted(ROOT.glob(".pre-commit-config.yaml"))]
# A block of code, and inline code.
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
OURS = ("benchmarks", "demo", "guard_server", "tools", "training")
# `python -m` of these starts more than a line of help; the values say where they are tested.
ELSEWHERE = {
    "demo.run": "imported here; its stack is started by tests/e2e and `make try`",
    "demo.try_conversations": "imported here; CI runs `make try`",
    "benchmarks.demo_bench": "tests/integration/test_benchmarks.py: needs torch",
    "benchmarks.stream_bench": "tests/integration/test_benchmarks.py: needs vLLM",
    "benchmarks.gpu_bench": "tests/integration/test_benchmarks.py: needs vLLM",
}


def code(file: Path) -> str:
    """The commands that people type or machines run; in a page, only its code."""
    text = file.read_text(encoding="utf-8")
    return "\n".join(CODE.findall(text)) if file.suffix == ".md" else text


def modules() -> list[str]:
    found = {name for file in (*PAGES, *SCRIPTS) for name in re.findall(r"python[\d.]* -m ([\w.]+)", code(file))}
    return sorted(name for name in found if name.partition(".")[0] in OURS)


def test_the_targets_are_those_that_are_declared() -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE)
    assert sorted(targets) == sorted(PHONY)


def test_make_accepts_all_targets() -> None:
    done = subprocess.run(["make", "-n", *PHONY], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", [*PAGES, *SCRIPTS], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_target_that_is_named_exists(file: Path) -> None:
    named = re.findall(r"(?:^|`|run: |&& )(?:[A-Z_]+=\S+ )*make ([a-z][a-z0-9-]*)", code(file), re.MULTILINE)
    assert set(named) <= {*PHONY}


@pytest.mark.parametrize("module", [module for module in modules() if module not in ELSEWHERE])
def test_a_command_shows_its_options(module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_other_named_modules_exist() -> None:
    assert ELSEWHERE.keys() <= {*modules()}
    for module in ELSEWHERE:
        assert find_spec(module) is not None, module


@pytest.mark.parametrize("module", ["demo.run", "demo.try_conversations"])
def test_the_demos_commands_can_be_imported(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
