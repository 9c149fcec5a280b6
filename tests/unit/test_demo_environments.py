"""Which steps of an environment are done again. Nothing is installed here."""

import json
from pathlib import Path

import pytest

from demo import environments
from demo.environments import BuildError, Environment, Step


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setattr(environments, "VENVS", tmp_path)
    (tmp_path / "dev").mkdir()
    return Environment("dev")


def plan(monkeypatch: pytest.MonkeyPatch, *packages: str, reads: str = "") -> None:
    steps = [Step(["install", package], reads=lambda: reads) for package in packages]
    monkeypatch.setattr(environments, "steps", lambda name: steps)


def finish(environment: Environment) -> None:
    environment.record.write_text(json.dumps(environment.missing()[-1][1]))


def test_what_was_done_is_not_done_again(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(monkeypatch, "a", "b")
    assert [step.pip[1] for step, _ in environment.missing()] == ["a", "b"]
    finish(environment)
    assert environment.missing() == []


def test_a_changed_step_and_those_behind_it_are_done_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, "a", "b", "c")
    finish(environment)
    plan(monkeypatch, "a", "b==2", "c")
    assert [step.pip[1] for step, _ in environment.missing()] == ["b==2", "c"]


def test_a_changed_file_is_a_changed_step(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(monkeypatch, "a", reads="one")
    finish(environment)
    plan(monkeypatch, "a", reads="two")
    assert len(environment.missing()) == 1


def test_an_interrupted_build_goes_on_where_it_stopped(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, "a", "b")
    environment.record.write_text(json.dumps(environment.missing()[0][1]))
    assert [step.pip[1] for step, _ in environment.missing()] == ["b"]


def test_the_uploaded_files_requirements_are_installed_beforehand() -> None:
    assert any(requirement.startswith("openai") for requirement in environments.plugin_requirements())


def test_an_unknown_environment_is_an_error() -> None:
    with pytest.raises(BuildError, match="webui"):
        Environment("production").missing()
