"""The demo Stream guard's trainer, on a few rows: its output is complete, and the same every time."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from guard_server.stream.head_labels import Labels
from tests.stands.processes import guard_environment
from training.gen.training_rows import FILES

_TRAIN = """
import sys
from pathlib import Path
from training.stream.train_stream import train

train(Path(sys.argv[1]), Path(sys.argv[2]), threads=1, epochs=1, share=0.01)
"""
SAFE = "Mix flour, water, salt and yeast, and let the dough rest for an hour."
UNSAFE = "Use a hairpin to pick the lock, steal the money and sell the stolen goods."


def record(split: str, unsafe: bool, number: int, answered: bool) -> dict[str, Any]:
    text = f"{number}. {UNSAFE if unsafe else SAFE}"
    question = {"role": "user", "content": "Tell me a story." if answered else text}
    return {
        "messages": [question, {"role": "assistant", "content": text}] if answered else [question],
        "label": "Unsafe" if unsafe else "Safe",
        "categories": ["Non-violent Illegal Acts"] if unsafe else [],
        "cat_origin": "given",
        "source": f"source/{number % 3}",
        "lang": "en",
        "split": split,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, answered in zip(FILES, (False, True), strict=True):
        rows = [record(split, bool(n % 2), n, answered) for split in ("train", "valid") for n in range(30)]
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_the_same_rows_give_the_same_complete_checkpoint(data: Path, tmp_path: Path) -> None:
    folders = (tmp_path / "one", tmp_path / "two")
    digests = []
    with ThreadPoolExecutor() as threads:
        outputs = threads.map(lambda folder: guard_environment.run("-c", _TRAIN, str(data), str(folder)), folders)
    for folder, said in zip(folders, outputs, strict=True):
        assert f"written to {folder}" in said
        assert {path.name for path in folder.iterdir()} == {
            *("README.md", "chat_template.jinja", "config.json"),
            *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        }
        digests.append(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert len(Labels.of(json.loads((tmp_path / "one/config.json").read_text())).query_categories) == 9
    card = (tmp_path / "one/README.md").read_text(encoding="utf-8")
    assert "| prompts | 15 |" in card
    assert "| answers | 15 |" in card
