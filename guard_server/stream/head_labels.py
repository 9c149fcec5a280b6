"""Turns the numbers of a Qwen3Guard-Stream model, one row of logits, into a verdict."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeVar

from guard_server.errors import UnreadableCheckpoint
from moderation.verdict import Category, Kind, Severity, severity_probabilities

# The order of the labels and the spelling of categories are those of the published checkpoints: see the fields of
# config.json that are named here, and the model cards, of Qwen/Qwen3Guard-Stream-0.6B, -4B and -8B.
_SEVERITIES = ("Safe", "Unsafe", "Controversial")
_ANSWER_CATEGORIES = (
    *("Violent", "Sexual Content", "Self-Harm", "Political", "PII", "Copyright", "Illegal Acts", "Unethical"),
)
PUBLISHED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("num_risk_level", "response_risk_level_map", _SEVERITIES),
    ("num_category", "response_category_map", _ANSWER_CATEGORIES),
    ("num_query_risk_level", "query_risk_level_map", _SEVERITIES),
    ("num_query_category", "query_category_map", (*_ANSWER_CATEGORIES, "Jailbreak")),
)
"""For each head, in the model's order: the fields of config.json with its size and its map, and its labels."""
_SHORT = {
    "sexual content": Category.SEXUAL,
    "sexual": Category.SEXUAL,
    "self-harm": Category.SUICIDE_AND_SELF_HARM,
    "political": Category.POLITICALLY_SENSITIVE_TOPICS,
    "politically sensitive": Category.POLITICALLY_SENSITIVE_TOPICS,
    "personally identifiable information": Category.PII,
    "copyright": Category.COPYRIGHT_VIOLATION,
    "illegal acts": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "non-violent illegal": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "unethical": Category.UNETHICAL_ACTS,
}
_CATEGORIES = {category.lower(): category for category in Category} | _SHORT
_LEVELS = {severity.lower(): severity for severity in Severity}

_Label = TypeVar("_Label", Severity, Category)


class TokenVerdict(NamedTuple):
    """The guard's verdict at one token."""

    severity: Severity
    category: Category
    """The most probable one. Without meaning if the severity is Safe."""
    probabilities: dict[Severity, float]
    """Of the three severities; they add up to 1."""


class Labels(NamedTuple):
    """The meaning of a row: one name per number, head after head, in the order of `vllm_plugin.model`."""

    answer_severities: tuple[Severity, ...]
    answer_categories: tuple[Category, ...]
    query_severities: tuple[Severity, ...]
    query_categories: tuple[Category, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The labels in a checkpoint's config.json, or the published ones if it has none.

        Raises:
            UnreadableCheckpoint: its labels are unknown, so that no verdict could be trusted.
        """
        names = [_names(config, size, field, published) for size, field, published in PUBLISHED]
        return cls(
            tuple(_known(name, _LEVELS) for name in names[0]),
            tuple(_known(name, _CATEGORIES) for name in names[1]),
            tuple(_known(name, _LEVELS) for name in names[2]),
            tuple(_known(name, _CATEGORIES) for name in names[3]),
        )

    def read(self, row: list[float], kind: Kind) -> TokenVerdict:
        """The verdict in a row of logits, on a prompt (the query heads) or at a token of an answer.

        Raises:
            ValueError: the row has another length, or numbers that are not finite, as after an overflow.
        """
        if len(row) != sum(map(len, self)) or not all(map(math.isfinite, row)):
            raise ValueError(f"a row of {len(row)} numbers that cannot be read: {list(row)[:3]}")
        answer = len(self.answer_severities) + len(self.answer_categories)
        if kind == "response":
            severities, categories, row = self.answer_severities, self.answer_categories, row[:answer]
        else:
            severities, categories, row = self.query_severities, self.query_categories, row[answer:]
        risks, reasons = row[: len(severities)], row[len(severities) :]
        top = max(risks)
        masses = dict.fromkeys(Severity, 0.0)
        for severity, risk in zip(severities, risks, strict=True):
            masses[severity] += math.exp(risk - top)
        probabilities = severity_probabilities(masses)
        assert probabilities is not None, "the largest mass is 1"
        return TokenVerdict(severities[risks.index(top)], categories[reasons.index(max(reasons))], probabilities)


def _names(config: Mapping[str, Any], size: str, field: str, published: tuple[str, ...]) -> tuple[str, ...]:
    named = config.get(field)
    if named is None:
        names = published
    else:
        try:
            # JSON keys are strings.
            by_number = {int(number): str(name) for number, name in named.items()}
            names = tuple(by_number[number] for number in range(len(by_number)))
        except (AttributeError, KeyError, ValueError) as error:
            raise _unreadable(f"{field} is not a map from numbers to names: {named!r}") from error
    if config.get(size) != len(names):
        raise _unreadable(f"{size} is {config.get(size)!r}, but there are {len(names)} labels for it ({field})")
    return names


def _known(name: str, known: Mapping[str, _Label]) -> _Label:
    found = known.get(name.strip().lower())
    if found is None:
        raise _unreadable(f"the label {name!r} is none of Qwen3Guard's")
    return found


def _unreadable(cause: str) -> UnreadableCheckpoint:
    return UnreadableCheckpoint(f"config.json: {cause}.", "Use one of Qwen/Qwen3Guard-Stream-0.6B, -4B or -8B.")
