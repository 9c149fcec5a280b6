"""What Qwen3Guard says of one turn.

The grammar of a reply, its labels and its category names are those of the Qwen3Guard technical report (section 3)
and of the model cards of Qwen/Qwen3Guard-Gen-0.6B, -4B and -8B.
"""

import re
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["prompt", "response"]

# A verdict with all categories in it has 300 characters.
_LONGEST_REPLY = 4096
# The chat template ends in an empty think block; some servers give it back, in whole or from its middle on.
_EMPTY_THOUGHTS = re.compile(r"\A\s*(?:<think>\s*)?</think>")
_CONTROLS = re.compile(r"(?:\s*(?:<\|\w{1,32}\|>|</s>))+\s*\Z")


class Severity(StrEnum):
    """How harmful a turn is. `CONTROVERSIAL` means that it depends on context and on who judges."""

    SAFE = "Safe"
    CONTROVERSIAL = "Controversial"
    UNSAFE = "Unsafe"


class Category(StrEnum):
    """The nine official names. `JAILBREAK` is given for prompts only."""

    VIOLENT = "Violent"
    NON_VIOLENT_ILLEGAL_ACTS = "Non-violent Illegal Acts"
    SEXUAL = "Sexual Content or Sexual Acts"
    PII = "PII"
    SUICIDE_AND_SELF_HARM = "Suicide & Self-Harm"
    UNETHICAL_ACTS = "Unethical Acts"
    POLITICALLY_SENSITIVE_TOPICS = "Politically Sensitive Topics"
    COPYRIGHT_VIOLATION = "Copyright Violation"
    JAILBREAK = "Jailbreak"


SEVERITY_ORDER = (Severity.SAFE, Severity.CONTROVERSIAL, Severity.UNSAFE)


class Verdict(BaseModel):
    """One judgement of one turn; without a severity it says why no verdict could be reached."""

    model_config = ConfigDict(frozen=True)

    severity: Severity | None
    """None where no verdict could be reached."""
    categories: tuple[Category, ...] = ()
    """Empty for a safe turn, and where the guard flagged a turn without saying why."""
    refusal: bool | None = None
    """Whether an answer refuses its prompt; None for prompts and where the guard was not asked."""
    probabilities: dict[Severity, float] | None = None
    """Of the three severities, adding up to 1; None where the endpoint gives no log-probabilities."""
    problem: str | None = None
    """Why there is no verdict, in plain words; None where there is one."""
    reading: Literal["visible", "undone"] | None = None
    """Which reading of the turn this is of, as it is seen or with its disguise undone; None if it has but one."""

    @classmethod
    def none(cls, problem: str) -> "Verdict":
        """The verdict of a turn that could not be judged."""
        return cls(severity=None, problem=problem)

    @property
    def reached(self) -> bool:
        return self.severity is not None


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict over several windows of one turn.

    An unsafe window decides, whatever became of the others; else a missing verdict does, since an unjudged window could
    hide anything. Categories of all windows of the deciding severity are joined.
    """
    unreached = next((verdict for verdict in verdicts if not verdict.reached), None)
    top = max(verdicts, key=_rank)
    if unreached is not None and top.severity is not Severity.UNSAFE:
        return unreached
    joined = dict.fromkeys(c for verdict in verdicts if verdict.severity is top.severity for c in verdict.categories)
    return top.model_copy(update={"categories": tuple(joined)})


def _rank(verdict: Verdict) -> tuple[int, float]:
    """By severity, then by how far it is from Safe: a threshold may refuse what is labelled Safe."""
    harm = 1 - verdict.probabilities[Severity.SAFE] if verdict.probabilities else 0.0
    return SEVERITY_ORDER.index(verdict.severity) if verdict.severity else -1, harm


def parse_reply(text: str, kind: Kind) -> Verdict:
    """Read a full reply, strictly: line by line, each label once, names exactly as published.

    Only what servers leave around it is set aside: an empty think block before it, control tokens after it.

    Args:
        text: the guard's whole reply, e.g. "Safety: Unsafe\\nCategories: Violent".
        kind: "prompt", or "response", whose reply has a `Refusal:` line too.

    Returns:
        The verdict; an unreadable reply is a verdict without severity, never an exception.
    """
    fields: dict[str, str] = {}
    if len(text) > _LONGEST_REPLY:
        return _unreadable(text)
    for line in _bare(text).splitlines():
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or name not in ("Safety", "Categories", "Refusal") or name in fields:
            return _unreadable(text)
        fields[name] = value.strip()
    try:
        severity = Severity(fields["Safety"])
        categories = _named_categories(fields.get("Categories", "None"))
    except (KeyError, ValueError):
        return _unreadable(text)
    refusal = fields.get("Refusal")
    if refusal not in ("Yes", "No", None) or (severity is Severity.SAFE and categories):
        return _unreadable(text)
    refuses = None if refusal is None or kind == "prompt" else refusal == "Yes"
    return Verdict(severity=severity, categories=categories, refusal=refuses)


def _bare(text: str) -> str:
    return _CONTROLS.sub("", _EMPTY_THOUGHTS.sub("", text)).strip()


def _named_categories(value: str) -> tuple[Category, ...]:
    if value == "None":
        return ()
    return tuple(dict.fromkeys(Category(name.strip()) for name in value.split(",")))


def _unreadable(text: str) -> Verdict:
    return Verdict.none(f"the guard's reply could not be read: {text[:80]!r}")
