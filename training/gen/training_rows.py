"""Reads the demo guard's training rows.

Imports neither torch nor transformers. The data's own description defines a row's format: `messages`, `label`,
`categories`, `cat_origin`, `source`, `split`. Only the two files of permissively licensed rows are read.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.conversation import Turn, kind_of
from moderation.readings.reading import neutralise
from moderation.verdict import Category, Kind, Severity
from training.gen.label_reply import is_refusal

FILES = ("train_permissive_prompts.jsonl", "train_permissive_responses.jsonl")
EVERYDAY = Path(__file__).parent / "everyday.jsonl"
"""Our own short chats: a third of the harmless ones is for training, the rest (split "test") for measuring only."""

_WEAPONS = re.compile(
    r"\b(?:bombs?|explosives?|grenades?|guns?|firearms?|rifles?|ammunition|weapons?)\b|炸弹|炸药|爆炸物|枪支|手枪|武器|弹药",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TrainingRow:
    """One judged conversation."""

    turns: tuple[Turn, ...]
    severity: Severity
    categories: tuple[Category, ...] | None
    """None if they are unknown."""
    refusal: bool | None
    """None for prompts."""
    source: str
    language: str
    weight: float = 1.0

    @property
    def kind(self) -> Kind:
        return kind_of(self.turns)


def read(folder: Path, split: str) -> list[TrainingRow]:
    """Rows of one split of the permissive files in `folder`: "train" (surplus rows included) or "valid"."""
    return [row for name in FILES for row in _read_file(folder / name, split)]


def everyday(split: str) -> list[TrainingRow]:
    """Our own short chats: "train" or "test"."""
    return _read_file(EVERYDAY, split)


def _read_file(path: Path, split: str) -> list[TrainingRow]:
    with path.open(encoding="utf-8") as lines:
        return [_row(record) for record in map(json.loads, lines) if record["split"].startswith(split)]


def _row(record: dict[str, Any]) -> TrainingRow:
    turns = tuple(Turn(message["role"], neutralise(message["content"])) for message in record["messages"])
    severity = Severity(record["label"])
    names = _categories(turns[-1].text, record["categories"])
    known = severity is Severity.SAFE or (bool(names) and record["cat_origin"] != "imputed")
    return TrainingRow(
        turns=turns,
        severity=severity,
        categories=names if known else None,
        # An answer with a harmful label is never counted as a refusal: few of those that begin like one are one.
        refusal=(severity is Severity.SAFE and is_refusal(turns[-1].text)) if turns[-1].role == "assistant" else None,
        source=source_group(record["source"]),
        language=record["lang"],
    )


def _categories(text: str, names: Sequence[str]) -> tuple[Category, ...]:
    """In Qwen3Guard's policy weapons belong to violence; several sources label them as illegal acts."""
    found = tuple(map(Category, names))
    if Category.NON_VIOLENT_ILLEGAL_ACTS not in found or not _WEAPONS.search(text):
        return found
    return tuple(
        dict.fromkeys(Category.VIOLENT if each is Category.NON_VIOLENT_ILLEGAL_ACTS else each for each in found)
    )


def source_group(source: str) -> str:
    """The dataset of a `source`. Its files, splits and copies are one group, for leaving out a source as a whole."""
    if "MLCommons AI Safety v0.5" in source or "datasets/mlc-" in source:
        return "MLCommons AI Safety v0.5"
    name = source.split(" via ")[0]
    return name.split(" ")[0].split(":")[0] if "/" in name.split(" ")[0] else name.split(":")[0]
