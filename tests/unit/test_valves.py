import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.lifecycle.saved_valves import mend_saved_valves
from pipelines.qwen3guard_filter import Valves
from webui.settings import parse_categories


def test_every_valve_survives_the_round_through_the_page() -> None:
    """The page posts numbers and lists as text."""
    posted = {name: ",".join(v) if isinstance(v, list) else str(v) for name, v in Valves().model_dump().items()}
    assert Valves(**posted) == Valves()
    assert Valves(**posted).problems == []
    json.dumps(Valves(**posted).model_dump())


def test_the_page_can_render_and_save_every_valve() -> None:
    """It cannot save an empty default, and draws only plain types and drop-downs."""
    for name, spec in Valves.model_json_schema()["properties"].items():
        assert spec["type"] in ("string", "integer", "number", "boolean", "array"), name
        assert spec["default"] not in ("", []), name
        assert spec["description"], name


@pytest.mark.parametrize(
    "value", [None, "", "rubbish", -1, 1e99, float("nan"), [], {}, ["x"], {"a": 1}, True, "\ud800", "9" * 99]
)
@pytest.mark.parametrize("name", list(Valves.model_fields))
def test_no_value_of_any_valve_raises(name: str, value: Any) -> None:
    valves = Valves(**{name: value})
    assert Valves(**valves.model_dump()).problems == []
    json.dumps(valves.model_dump())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guard_base_url", "localhost:8000"),
        ("strictness", "medium"),
        ("timeout_seconds", "-3"),
        ("allowed_categories", "Violence"),
        ("mode", ""),
        ("audit_path", " "),
        ("audit_path", "."),
        ("audit_path", "/"),
        ("audit_path", "a\0b"),
        ("audit_path", "/tmp"),
        ("audit_path", "/dev/null"),
        ("audit_path", "/proc/audit.jsonl"),
        ("audit_path", "x" * 300),
    ],
)
def test_a_bad_value_becomes_the_default_and_is_reported(name: str, value: str) -> None:
    valves = Valves(**{name: value})
    assert getattr(valves, name) == Valves.model_fields[name].default
    (problem,) = valves.problems
    assert problem.startswith(f"{name}: ")
    assert "is used instead" in problem


def test_a_secret_in_the_wrong_box_is_not_repeated() -> None:
    assert "sk-secret" not in Valves(guard_base_url="sk-secret").problems[0]


@pytest.mark.parametrize("value", [[], [""], ["*", "x"], "", "*,", ["", "*"], None, [None], 7])
def test_the_filter_cannot_be_switched_off_by_accident(value: Any) -> None:
    assert Valves(pipelines=value).pipelines == ["*"]


def test_explicitly_named_models_are_kept() -> None:
    assert Valves(pipelines="llama, qwen,").pipelines == ["llama", "qwen"]


def test_the_environment_gives_defaults_and_saved_values_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3GUARD_STRICTNESS", "loose")
    monkeypatch.setenv("QWEN3GUARD_TIMEOUT_SECONDS", "soon")
    assert Valves().strictness == "loose"
    assert Valves(strictness="strict").strictness == "strict"
    assert Valves().timeout_seconds == 10
    assert Valves().problems[0].startswith("QWEN3GUARD_TIMEOUT_SECONDS: ")


def test_categories_are_read_in_any_case() -> None:
    assert {str(category) for category in parse_categories("violent, pii")} == {"Violent", "PII"}
    assert parse_categories("none") == frozenset()


@pytest.mark.parametrize("broken", ["", "{", "[]", '"x"', "null", '{"a": 1'])
def test_broken_saved_valves_are_set_aside_so_that_the_server_starts(tmp_path: Path, broken: str) -> None:
    saved = tmp_path / "valves.json"
    saved.write_text(broken)
    assert "valves.broken.json" in str(mend_saved_valves(tmp_path))
    assert json.loads(saved.read_text()) == {}
    assert (tmp_path / "valves.broken.json").read_text() == broken


def test_sound_saved_valves_are_left_alone(tmp_path: Path) -> None:
    assert mend_saved_valves(tmp_path) is None
    (tmp_path / "valves.json").write_text('{"removed_long_ago": 1}')
    assert mend_saved_valves(tmp_path) is None


def test_valves_that_cannot_be_set_aside_are_reported_and_do_not_stop_the_server(tmp_path: Path) -> None:
    (tmp_path / "valves.json").mkdir()
    (tmp_path / "valves.broken.json").touch()
    assert "cannot be replaced" in str(mend_saved_valves(tmp_path))
