"""GitHub's workflows and the pre-commit hooks: valid, pinned, with few rights, and they run existing programs.

The schema is GitHub's, from check-jsonschema. Only GitHub itself can show that the jobs run.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


def workflow(name: str) -> dict[str, Any]:
    # BaseLoader: YAML 1.1 reads the key `on` as a boolean.
    loaded: dict[str, Any] = yaml.load((ROOT / ".github/workflows" / name).read_text(), yaml.BaseLoader)
    return loaded


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_the_workflows_are_valid(schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, WORKFLOWS)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", [path.name for path in WORKFLOWS])
def test_actions_are_pinned_and_may_only_read(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action), action
    assert workflow(name)["permissions"] == {"contents": "read"}


def test_one_job_may_write_and_runs_no_code_of_this_repository() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert not any("checkout" in step.get("uses", "") for step in jobs["publish"]["steps"])


def test_the_workflows_run_existing_jobs_and_programs() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert any(step.get("run") == ".ci/run" for step in steps("ci.yml"))
    jobs = workflow("release.yml")["jobs"]
    assert jobs["check"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in workflow("ci.yml")["on"]
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("check", "build")


def test_a_release_has_the_wheel_of_this_project() -> None:
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert any(f"release/{name.replace('-', '_')}-" in step.get("run", "") for step in steps("release.yml"))


def test_hooks_before_a_commit_use_the_tools_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("$(DEV)", ".venvs/dev/bin")
    lint = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    entries = {hook["id"]: hook["entry"] for hook in HOOKS}
    assert entries.pop("lint") == "make lint"
    for entry in entries.values():
        # `ruff format`, `ruff check`, or a module with its option.
        tool = entry.partition(" --f")[0]
        assert tool in lint, entry
