from pathlib import Path

import pytest

from guard_server import catalog
from guard_server.catalog import MODELS, Model
from guard_server.errors import UnknownModel
from guard_server.serve.checkpoint import Checkpoint
from tests.stands.checkpoints import published_configs

ROOT = Path(__file__).parents[2]


def published(size: str) -> Checkpoint:
    return Checkpoint("x/y", ("x/y",), published_configs.config(f"gen-{size}"), "")


def test_the_catalog_holds_the_six_models_and_the_demo_guards() -> None:
    assert set(MODELS) == {*published_configs.NAMES, "demo", "demo-stream"}


def test_the_default_is_a_real_guard() -> None:
    assert not MODELS[catalog.DEFAULT].demo


@pytest.mark.parametrize("size", published_configs.SIZES)
def test_the_key_value_cache_follows_from_the_published_config(size: str) -> None:
    assert MODELS[f"gen-{size}"].kv_bytes_per_token == published(size).kv_bytes_per_token(2)


def test_three_conversations_of_the_4b_model_need_the_cache_size_of_the_article() -> None:
    assert round(3 * 10240 * MODELS["gen-4b"].kv_bytes_per_token / 1024**3, 1) == 4.2


@pytest.mark.parametrize("size", published_configs.SIZES)
def test_the_weights_follow_from_the_published_config(size: str) -> None:
    stored = MODELS[f"gen-{size}"].parameters
    in_memory = published(size).parameters
    # The 0.6B checkpoint stores its tied output layer a second time; norms are left out of the estimate.
    stored -= 151936 * 1024 if size == "0.6b" else 0
    assert in_memory == pytest.approx(stored, rel=0.001)


def test_a_model_is_found_by_its_short_name_and_by_its_hub_id() -> None:
    assert catalog.find("Gen-4B") == catalog.find("qwen/qwen3guard-gen-4b") == MODELS["gen-4b"]


def test_another_hub_id_and_a_folder_are_used_unchanged(tmp_path: Path) -> None:
    assert catalog.find("somebody/a-fine-tuned-guard") == "somebody/a-fine-tuned-guard"
    assert catalog.find(str(tmp_path)) == tmp_path


def test_a_short_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    found = catalog.find("demo")
    assert isinstance(found, Model)
    assert found.demo


def test_the_error_for_a_mistyped_name_suggests_the_closest() -> None:
    with pytest.raises(UnknownModel) as caught:
        catalog.find("gen-06b")
    assert caught.value.remedy.startswith("Did you mean gen-0.6b")


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "~/nowhere"])
def test_a_missing_folder_is_named(path: str) -> None:
    with pytest.raises(UnknownModel, match="no folder"):
        catalog.find(path)


def test_the_documentation_shows_every_model_with_its_numbers() -> None:
    text = (ROOT / "docs/guard-server.md").read_text(encoding="utf-8")
    for model in MODELS.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{model.name}` "))
        if not model.demo:
            assert str(model.huggingface) in row
            assert f"{model.weights_gb:.1f} GB" in row
            assert f"{model.kv_bytes_per_token // 1024} KiB" in row
