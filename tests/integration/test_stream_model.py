"""Qwen3Guard-Stream on vLLM compared with plain transformers: the same numbers, however the text is split."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stands.processes import guard_environment


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("stream") / "checkpoint"
    guard_environment.make_checkpoint(folder, tied=request.param)
    assert ("lm_head.weight" in (folder / "model.safetensors.index.json").read_text()) is not request.param
    last_line = guard_environment.run("-m", "tests.integration.stream_rows", str(folder)).splitlines()[-1]
    result: dict[str, Any] = json.loads(last_line)
    return result


@pytest.mark.parametrize("size", ["1", "16", "50", "200"])
def test_all_four_heads_give_the_numbers_of_plain_transformers(compared: dict[str, Any], size: str) -> None:
    part = compared["parts"][size]
    assert part["shape"] == [200, 23]
    assert compared["deviation_of_logits"] > 1
    assert part["difference"] < 1e-3
    assert part["argmax_equal"]
