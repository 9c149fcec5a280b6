import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from guard_server.errors import UnreadableCheckpoint
from guard_server.serve import checkpoint
from tests.stands.guards.stub_stream import CONFIG


def folder(path: Path, config: Mapping[str, object] | str, **files: str) -> str:
    text = config if isinstance(config, str) else json.dumps(config)
    (path / "config.json").write_text(text, encoding="utf-8")
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(content, encoding="utf-8")
    return str(path)


def test_a_template_in_its_own_file_wins(tmp_path: Path) -> None:
    tokenizer = json.dumps({"chat_template": "old"})
    name = folder(tmp_path, {}, chat_template__jinja="new", tokenizer_config__json=tokenizer)
    assert checkpoint.load(name, "huggingface").template == "new"


def test_a_template_in_the_tokenizers_config_is_read(tmp_path: Path) -> None:
    name = folder(tmp_path, {}, tokenizer_config__json=json.dumps({"chat_template": "{{ messages }}"}))
    assert checkpoint.load(name, "huggingface").template == "{{ messages }}"


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    name = folder(tmp_path, {}, tokenizer_config__json=json.dumps({"chat_template": named}))
    assert checkpoint.load(name, "huggingface").template == "b"


def test_a_folder_is_served_under_its_own_name(tmp_path: Path) -> None:
    guard = checkpoint.load(folder(tmp_path, {}, chat_template__jinja="x"), "huggingface")
    assert guard.served_names == (tmp_path.name,)
    assert guard.local


@pytest.mark.parametrize(
    ("config", "files", "says"),
    [
        ({}, {}, "no chat template"),
        ({}, {"tokenizer_config__json": "{}"}, "no chat template"),
        ("{broken", {"chat_template__jinja": "x"}, "not JSON"),
    ],
)
def test_the_error_names_what_is_missing(
    tmp_path: Path, config: dict[str, object] | str, files: dict[str, str], says: str
) -> None:
    with pytest.raises(UnreadableCheckpoint, match=says):
        checkpoint.load(folder(tmp_path, config, **files), "huggingface")


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCheckpoint, match=r"no config\.json"):
        checkpoint.load(str(tmp_path), "huggingface")


@pytest.mark.parametrize(("architecture", "stream"), [("Qwen3ForGuardModel", True), ("Qwen3ForCausalLM", False)])
def test_a_stream_model_is_recognised_by_its_architecture(tmp_path: Path, architecture: str, stream: bool) -> None:
    config = CONFIG | {"architectures": [architecture], "model_type": "any"}
    name = folder(tmp_path, config, chat_template__jinja="x")
    assert checkpoint.load(name, "huggingface").stream is stream


def test_a_stream_model_with_unknown_labels_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    config = CONFIG | {"architectures": ["Qwen3ForGuardModel"], "num_category": 5}
    with pytest.raises(UnreadableCheckpoint, match="num_category is 5"):
        checkpoint.load(folder(tmp_path, config, chat_template__jinja="x"), "huggingface")
