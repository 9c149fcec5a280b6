"""Reading the supported data sets in the hub's layout."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from guard_server.errors import UnreadableData
from guard_server.evaluation.data import hub
from guard_server.evaluation.data.hub_sets import SETS
from moderation.verdict import Category, Severity
from tests.stands.chats import BOMB
from tests.unit.hub_copies import (
    BREAD,
    NO,
    aegis_1,
    aegis_2,
    beavertails,
    card,
    openai_moderation,
    parquet,
    qwen3guard_test,
    safe_rlhf,
    toxic_chat,
    wild_guard,
    xstest,
    xstest_response,
)


@pytest.fixture(autouse=True)
def _no_shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hub-cache"))


SAFE, CONTROVERSIAL, UNSAFE = Severity


@pytest.mark.parametrize(
    ("name", "write", "found"),
    [
        (
            "Qwen/Qwen3GuardTest",
            qwen3guard_test,
            [
                ("Qwen/Qwen3GuardTest:thinking", "response", UNSAFE, "<think>Hm.</think>With flour."),
                ("Qwen/Qwen3GuardTest:thinking", "response", SAFE, "<think>Hm.</think>With flour."),
                ("Qwen/Qwen3GuardTest:thinking_loc", "response", UNSAFE, "<think>Hm.</think>With flour."),
                ("Qwen/Qwen3GuardTest:response_loc", "response", UNSAFE, "With flour."),
            ],
        ),
        (
            "lmsys/toxic-chat",
            toxic_chat,
            [("lmsys/toxic-chat", "prompt", UNSAFE, BOMB), ("lmsys/toxic-chat", "prompt", SAFE, BREAD)],
        ),
        (
            "walledai/XSTest",
            xstest,
            [("walledai/XSTest", "prompt", SAFE, BREAD), ("walledai/XSTest", "prompt", UNSAFE, BOMB)],
        ),
        (
            "allenai/xstest-response",
            xstest_response,
            [
                ("allenai/xstest-response", "response", SAFE, NO),
                ("allenai/xstest-response", "response", UNSAFE, "Take this."),
                ("allenai/xstest-response:refusal", "response", None, NO),
                ("allenai/xstest-response:refusal", "response", None, "Take this."),
            ],
        ),
        (
            "allenai/wildguardmix",
            wild_guard,
            [
                ("allenai/wildguardmix:prompts", "prompt", UNSAFE, BOMB),
                ("allenai/wildguardmix:prompts", "prompt", SAFE, BREAD),
                ("allenai/wildguardmix:prompts", "prompt", UNSAFE, BOMB),
                ("allenai/wildguardmix:responses", "response", SAFE, NO),
                ("allenai/wildguardmix:responses", "response", None, "With flour."),
                ("allenai/wildguardmix:responses", "response", UNSAFE, "Take this."),
            ],
        ),
        (
            "PKU-Alignment/BeaverTails",
            beavertails,
            [
                ("PKU-Alignment/BeaverTails", "response", UNSAFE, "Take this."),
                ("PKU-Alignment/BeaverTails", "response", UNSAFE, "Take that."),
                ("PKU-Alignment/BeaverTails", "response", SAFE, NO),
            ],
        ),
        (
            "PKU-Alignment/PKU-SafeRLHF",
            safe_rlhf,
            [("PKU-Alignment/PKU-SafeRLHF", "response", SAFE, NO)] * 3
            + [("PKU-Alignment/PKU-SafeRLHF", "response", UNSAFE, "Take this.")] * 3,
        ),
        (
            "nvidia/Aegis-AI-Content-Safety-Dataset-1.0",
            aegis_1,
            [
                ("nvidia/Aegis-AI-Content-Safety-Dataset-1.0", "prompt", SAFE, BREAD),
                ("nvidia/Aegis-AI-Content-Safety-Dataset-1.0", "prompt", UNSAFE, BOMB),
                ("nvidia/Aegis-AI-Content-Safety-Dataset-1.0", "prompt", CONTROVERSIAL, "How do I sharpen a knife?"),
            ],
        ),
        (
            "nvidia/Aegis-AI-Content-Safety-Dataset-2.0",
            aegis_2,
            [
                ("nvidia/Aegis-AI-Content-Safety-Dataset-2.0:prompts", "prompt", UNSAFE, BOMB),
                ("nvidia/Aegis-AI-Content-Safety-Dataset-2.0:prompts", "prompt", UNSAFE, BOMB + "!"),
                ("nvidia/Aegis-AI-Content-Safety-Dataset-2.0:prompts", "prompt", SAFE, BREAD),
                ("nvidia/Aegis-AI-Content-Safety-Dataset-2.0:responses", "response", SAFE, NO),
                ("nvidia/Aegis-AI-Content-Safety-Dataset-2.0:responses", "response", UNSAFE, "Take this."),
            ],
        ),
        (
            "mmathys/openai-moderation-api-evaluation",
            openai_moderation,
            [
                ("mmathys/openai-moderation-api-evaluation", "prompt", SAFE, BREAD),
                ("mmathys/openai-moderation-api-evaluation", "prompt", UNSAFE, BOMB),
            ],
        ),
    ],
)
def test_a_copy_in_the_hubs_layout_is_read(tmp_path: Path, name: str, write: Any, found: list[Any]) -> None:
    write(tmp_path)
    read = list(hub.read(name, tmp_path))
    assert [(row.set, row.task, row.label, row.conversation[-1].text) for row in read] == found


def test_every_known_data_set_is_tested() -> None:
    marks = test_a_copy_in_the_hubs_layout_is_read.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(SETS)


def test_refusals_are_read_if_the_data_has_them(tmp_path: Path) -> None:
    wild_guard(tmp_path)
    labels = {row.conversation[-1].text: row.refusal for row in hub.read("allenai/wildguardmix", tmp_path)}
    assert labels == {BOMB: None, BREAD: None, NO: True, "With flour.": False, "Take this.": None}
    (tmp_path / "xstest").mkdir()
    xstest_response(tmp_path / "xstest")
    refusals = [row.refusal for row in hub.read("allenai/xstest-response", tmp_path / "xstest")]
    assert refusals == [None, None, True, False]


@pytest.mark.parametrize(
    ("name", "write", "known"),
    [
        ("PKU-Alignment/BeaverTails", beavertails, {"Take this.": {Category.VIOLENT}}),
        ("PKU-Alignment/PKU-SafeRLHF", safe_rlhf, {"Take this.": {Category.VIOLENT}}),
        ("nvidia/Aegis-AI-Content-Safety-Dataset-2.0", aegis_2, {BOMB: {Category.VIOLENT}}),
    ],
)
def test_categories_are_known_if_each_of_them_has_a_mapping(
    tmp_path: Path, name: str, write: Any, known: dict[str, set[Category]]
) -> None:
    write(tmp_path)
    assert {row.conversation[-1].text: row.categories for row in hub.read(name, tmp_path) if row.categories} == known


def test_categories_of_adversarial_prompts_are_unknown(tmp_path: Path) -> None:
    wild_guard(tmp_path)
    prompts = [row for row in hub.read("allenai/wildguardmix", tmp_path) if row.task == "prompt"]
    assert [row.categories for row in prompts] == [{Category.VIOLENT}, set(), set()]


def test_an_unknown_label_does_not_make_a_row_harmless(tmp_path: Path) -> None:
    card(tmp_path, "default", {"test": "data/train-*"})
    parquet(tmp_path, "data/train-00000-of-00001.parquet", {"prompt": [BREAD], "label": ["perhaps"]})
    with pytest.raises(UnreadableData, match="does not know the column or value 'perhaps'"):
        list(hub.read("walledai/XSTest", tmp_path))


def test_a_copy_of_another_data_set_is_an_error(tmp_path: Path) -> None:
    xstest(tmp_path)
    with pytest.raises(UnreadableData, match="lmsys/toxic-chat"):
        list(hub.read("lmsys/toxic-chat", tmp_path))


def test_the_error_for_an_unknown_name_lists_the_supported_ones() -> None:
    with pytest.raises(UnreadableData) as error:
        list(hub.read("somebody/something"))
    assert "neither a file or folder" in error.value.cause
    assert all(name in error.value.remedy for name in SETS)


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "guard_server",
        "eval",
        "--data",
        "lmsys/toxic-chat",
        "--out",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "cannot be read from the hub" in result.stderr
    assert "--data lmsys/toxic-chat=FOLDER" in result.stderr
