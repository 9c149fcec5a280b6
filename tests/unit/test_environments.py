"""Which environments are built again, tested with a stand-in for uv: nothing is installed here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import environments, locks
from tools.environments import BuildError, Environment, uv_variables

# Logs its arguments, makes a folder for a virtual environment, and fails on demand.
UV = """#!/bin/sh
[ "$1" = --version ] && { echo "uv ${UV_SAYS:-0.13.9}"; exit; }
echo "$*" >>asked
[ "$1" = venv ] && for last; do :; done && rm -rf "$last" && mkdir -p "$last/bin" && touch "$last/bin/python"
case "$*" in *--offline*) grep -q offline works || { echo "not in the cache"; exit 2; } ;;
  *--torch-backend*) ;;
  *sync*) [ -e fails ] && { cat fails; exit 1; } ;;
esac
exit 0
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two locks, and a stand-in for uv on the PATH."""
    folder = tmp_path / "checkout"
    _lay(folder, monkeypatch)
    (folder / "locks").mkdir(parents=True)
    (folder / "locks/dev.txt").write_text("--editable .\na==1\n")
    (folder / "locks/webui.txt").write_text("b==1\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n\n[tool.ruff]\nline-length = 120\n')
    (folder / "works").write_text("nothing")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").write_text(UV)
    (programs / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


def _lay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"ROOT": "", "VENVS": ".venvs", "LOCKS": "locks", "LOGS": ".run/logs"}
    for name, place in places.items():
        monkeypatch.setattr(environments, name, folder / place)


def asked(checkout: Path) -> list[str]:
    """The commands since the previous call: the first words and the last word of each."""
    file = checkout / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_a_current_environment_is_not_built_again(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environments.main(["dev", "webui"])
    assert sorted(line.split()[0] for line in asked(checkout)) == ["pip"] * 4 + ["venv"] * 2
    assert "dev: built" in capsys.readouterr().out
    environments.main(["dev", "webui"])
    assert asked(checkout) == []
    assert capsys.readouterr().out == ""


def test_a_changed_lock_is_installed_into_the_existing_environment(checkout: Path) -> None:
    environments.main(["dev", "webui"])
    asked(checkout)
    (checkout / "locks/webui.txt").write_text("b==2\n")
    environments.main(["dev", "webui"])
    assert [line.split()[:2] for line in asked(checkout)] == [["pip", "sync"]] * 2


def test_a_change_of_the_project_affects_only_the_environments_that_contain_it(checkout: Path) -> None:
    environments.main(["dev", "webui"])
    (checkout / "pyproject.toml").write_text('[project]\nname = "y"\n\n[tool.ruff]\nline-length = 120\n')
    assert not Environment("dev").is_current()
    assert Environment("webui").is_current()


def test_a_setting_of_a_tool_changes_no_environment(checkout: Path) -> None:
    environments.main(["dev"])
    (checkout / "pyproject.toml").write_text('[project]\nname = "x"\n\n[tool.ruff]\nline-length = 100\n')
    assert Environment("dev").is_current()


def test_a_moved_checkout_is_built_from_scratch(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments.main(["dev"])
    moved = checkout.rename(checkout.parent / "moved")
    _lay(moved, monkeypatch)
    asked(moved)
    environments.main(["dev"])
    assert asked(moved)[0].startswith("venv --clear")


def test_an_environment_whose_python_is_gone_is_built_from_scratch(checkout: Path) -> None:
    environments.main(["dev"])
    asked(checkout)
    (checkout / ".venvs/dev/bin/python").unlink()
    environments.main(["dev"])
    assert asked(checkout)[0].startswith("venv --clear")


def test_cached_packages_need_no_network(checkout: Path) -> None:
    (checkout / "works").write_text("offline")
    environments.main(["dev"])
    assert [line for line in asked(checkout) if "sync" in line and "--offline" not in line] == []


def test_a_failure_names_its_cause_and_a_remedy_and_does_not_stop_the_others(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / ".venvs").mkdir()
    environments.main(["webui"])
    (checkout / "fails").write_text("error: Failed to fetch: `https://example.org/simple/a/`\n")
    (checkout / "locks/webui.txt").write_text("b==2\n")
    with pytest.raises(BuildError) as caught:
        environments.main(["dev", "webui"])
    assert str(caught.value).count("could not be built") == 2
    assert "venv-dev.log ends with" in str(caught.value)
    assert "Failed to fetch: `https://example.org/simple/a/`" in str(caught.value)
    assert "UV_DEFAULT_INDEX" in str(caught.value)
    assert "dev: failed" in capsys.readouterr().out
    (checkout / "fails").unlink()
    environments.main(["dev", "webui"])
    assert Environment("dev").is_current()


def test_the_cpu_build_of_torch_comes_from_its_own_index_if_no_other_has_it(checkout: Path) -> None:
    (checkout / "fails").write_text("  Because there is no version of torch==2.13.0+cpu\n")
    environments.main(["webui"])
    assert asked(checkout)[-1].endswith("--torch-backend cpu")


def test_an_unknown_environment_is_an_error(checkout: Path) -> None:
    with pytest.raises(BuildError, match="dev, webui"):
        environments.main(["production"])


def test_an_old_uv_is_not_used(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environments.find_uv().endswith("programs/uv")
    monkeypatch.setenv("UV_SAYS", "0.4.30")
    (checkout / ".venvs/uv/bin").mkdir(parents=True)
    (checkout / ".venvs/uv/bin/uv").touch()
    assert environments.find_uv() == str(checkout / ".venvs/uv/bin/uv")


def test_pips_configuration_is_passed_on_to_uv() -> None:
    configuration = "\n".join(
        [
            ":env:.cert='/etc/ca.pem'",
            ":env:.disable-pip-version-check='1'",
            "global.cert='/other.pem'",
            "global.extra-index-url='https://one/simple\\nhttps://two/simple'",
            "global.find-links='/wheels /more'",
            "global.index-url='https://mirror/simple'",
            "global.trusted-host='mirror'",
            "install.index-url='https://install/simple'",
        ]
    )
    assert uv_variables(configuration, {"UV_INSECURE_HOST": "mine"}) == {
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_DEFAULT_INDEX": "https://install/simple",
    }
    assert uv_variables("", {}) == {}


def test_the_script_runs_before_anything_is_installed() -> None:
    """Without site-packages. The error for an unknown name lists the environments in one line."""
    script = [sys.executable, "-I", "-S", "tools/environments.py", "production"]
    result = subprocess.run(script, cwd=environments.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: There is no environment 'production'; there are dev, guard, ")


def test_the_locks_are_those_of_the_environments() -> None:
    assert sorted(file.stem for file in environments.LOCKS.iterdir()) == sorted(locks.ENVIRONMENTS)


@pytest.mark.parametrize("name", locks.ENVIRONMENTS)
def test_a_lock_pins_every_package_by_version_and_file(name: str) -> None:
    lines = (environments.LOCKS / f"{name}.txt").read_text().removeprefix(locks.heading(name)).splitlines()
    pinned = [line for line in lines if not line.startswith(" ")]
    assert all("==" in line for line in pinned)
    # PyTorch's build for the CPU has a file for each platform, on its own index.
    assert [line for line in pinned if not line.endswith("\\")] == (["torch==2.13.0+cpu"] if name == "guard" else [])


def test_a_changed_requirement_needs_a_new_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert locks.is_current("litellm")
    monkeypatch.setattr(locks, "requirements", lambda name: ["litellm==1.200.0", "fastapi"])
    assert not locks.is_current("litellm")


def test_the_uploaded_files_requirements_are_installed_beforehand() -> None:
    asked: set[str] = set()
    for file in (environments.ROOT / "dist").glob("*.py"):
        for line in file.read_text().split('"""')[1].splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "requirements":
                asked |= {requirement.strip() for requirement in value.split(",")}
    assert "openai" in asked
    assert asked <= set(locks.requirements("pipelines"))
    assert asked <= set(locks.requirements("pipelines-newest"))
