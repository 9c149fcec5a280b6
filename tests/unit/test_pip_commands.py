"""Every install command in docs and remedies names existing packages: the project is on no package index."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guard_server.serve import pip_commands
from guard_server.serve.pip_commands import CPU_TORCH, DISTRIBUTION, install_extra, install_for_cpu, install_project

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
GROUPS: dict[str, list[str]] = PYPROJECT["dependency-groups"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PINNED = {requirement for named in (EXTRAS, GROUPS) for requirements in named.values() for requirement in requirements}
# Packages on PyPI, which may have any version.
KNOWN = {"huggingface_hub"}


def written() -> Iterator[tuple[str, str]]:
    """Each `pip install …` of the docs and of the code, and where it is."""
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "guard_server").rglob("*.md")]
    for file in files:
        for found in re.finditer(r"pip install ([^`\n#]+)", file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(ROOT)}: {found[0]}", found[1]
    for folder in ("guard_server", "moderation", "webui", "pipelines", "training"):
        for file in (ROOT / folder).rglob("*.py"):
            # Commands that code composes are checked below, as the functions return them.
            for found in re.finditer(r"""pip install ([^"`\n{]+)["`]""", file.read_text(encoding="utf-8")):
                yield f"{file.relative_to(ROOT)}: {found[0]}", found[1]


def check(command: str) -> None:
    """Fail if the command names an extra or a package that the project does not have."""
    words = shlex.split(command)
    while words:
        word = words.pop(0)
        if word in ("--extra-index-url", "--index-url"):
            words.pop(0)
        elif word in ("--no-deps", "--force-reinstall", "--upgrade", "-e", "&&", "pip", "install"):
            continue
        elif word == "uninstall":
            return
        else:
            name, _, extras = word.partition("[")
            unknown = set(filter(None, extras.rstrip("]").split(","))) - EXTRAS.keys()
            assert not unknown, word
            ours = name == "." or name.startswith("/") or re.fullmatch(r"(\S*/)?qwen3guard_open_webui-.*\.whl", name)
            assert ours or word in PINNED | KNOWN, f"{word}: a package on no index, or not the version that is tested"


def test_the_install_commands_of_docs_and_remedies_name_what_exists() -> None:
    found = dict(written())
    assert len(found) >= 6
    assert not [place for place in found if DISTRIBUTION in place]
    for place, command in found.items():
        try:
            check(command.strip())
        except AssertionError as error:
            raise AssertionError(f"{place}: {error}") from None


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_checkout_is_installed_from_its_folder(extra: str) -> None:
    assert install_extra(extra) == f"pip install -e '{ROOT}[{extra}]'"
    check(install_extra(extra))
    assert install_project() == f"pip install --no-deps -e {ROOT}"


@pytest.mark.parametrize("extra", ["api", "cpu", "eval", "gpu", "modelscope"])
def test_after_an_install_from_the_wheel_its_requirements_are_named(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pip_commands, "checkout", lambda: None)
    lines = [f"{requirement}; extra == '{name}'" for name, all_of in EXTRAS.items() for requirement in all_of]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: [*PROJECT["dependencies"], *lines])
    command = install_extra(extra)
    check(install_project())
    assert shlex.split(command) == ["pip", "install", *EXTRAS[extra]]
    check(command)
    assert command in install_for_cpu() or extra != "cpu"


def test_vllm_for_a_cpu_is_installed_with_the_torch_that_it_requires() -> None:
    check(install_for_cpu())
    assert CPU_TORCH in GROUPS["guard"]
    assert install_for_cpu().startswith(f"pip install {CPU_TORCH} --extra-index-url https://download.pytorch.org/")
    guide = (ROOT / "docs/guard-server.md").read_text(encoding="utf-8")
    for line in install_for_cpu().split(" && "):
        assert line.replace(f"'{ROOT}[cpu]'", "'.[cpu]'") in guide
