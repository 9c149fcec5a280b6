"""Qwen3Guard's verdict on one turn.

The grammar of a reply, its labels and its category names come from the Qwen3Guard technical report (section 3)
and the model cards of Qwen/Qwen3Guard-Gen-0.6B, -4B and -8B.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Kind = Literal["prompt", "response"]

# Rounding lets three shares of one miss it by a little.
_SHARE_ROUNDING = 0.001
# A verdict with all categories has 300 characters.
_LONGEST_REPLY = 4096
# The chat template ends with an empty think block; some servers return it with the reply, whole or in part.
_EMPTY_THOUGHTS = re.compile(r"\A\s*(?:<think>\s*)?</think>")
_LAST_CONTROL = re.compile(r"(?:<\|\w{1,32}\|>|</s>)\Z")
_LONGEST_CONTROL = 36


class Severity(StrEnum):
    """How harmful a turn is. `CONTROVERSIAL` means that it depends on the context and on who judges."""

    SAFE = "Safe"
    CONTROVERSIAL = "Controversial"
    UNSAFE = "Unsafe"


class Category(StrEnum):
    """The nine official names. `JAILBREAK` applies to prompts only."""

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


def _adding_up(shares: dict[Severity, float]) -> dict[Severity, float]:
    # Also refuses NaN, for which every comparison is false.
    if len(shares) < len(Severity) or not abs(sum(shares.values()) - 1) <= _SHARE_ROUNDING:
        raise ValueError("probabilities are of all three severities, and add up to 1")
    return shares


WireProbabilities = Annotated[dict[Severity, Annotated[float, Field(ge=0, le=1)]], AfterValidator(_adding_up)]
"""Of all three severities, as a server reports them."""


def severity_probabilities(masses: Mapping[Severity, float]) -> dict[Severity, float] | None:
    """What a model gives to each severity, scaled so that all three add up to 1; None if it gives nothing to any."""
    total = sum(masses.values())
    return {severity: masses.get(severity, 0.0) / total for severity in Severity} if total > 0 else None


def applicable(categories: Iterable[Category], kind: Kind) -> tuple[Category, ...]:
    """Those of `categories` that a turn of this kind can have, each once.

    Models sometimes write `Jailbreak` for an answer. The model cards give it to prompts only.
    """
    return tuple(dict.fromkeys(c for c in categories if kind == "prompt" or c is not Category.JAILBREAK))


class Verdict(BaseModel):
    """The result of judging one turn. Without a severity there is no verdict, and `problem` gives the reason."""

    model_config = ConfigDict(frozen=True)

    severity: Severity | None
    """None if no verdict could be reached."""
    categories: tuple[Category, ...] = ()
    """Empty for a safe turn, and if the guard flagged a turn without naming a category."""
    refusal: bool | None = None
    """Whether an answer refuses its prompt; None for prompts, and if the guard was not asked."""
    probabilities: dict[Severity, float] | None = None
    """Of the three severities, with sum 1; None if the endpoint returns no log-probabilities."""
    problem: str | None = None
    """Why there is no verdict, in plain words; None if there is one."""
    reading: Literal["visible", "undone"] | None = None
    """The reading that was judged: as it is seen, or with obfuscation undone. None if the turn has only one."""
    prompt_tokens: int | None = Field(None, exclude=True, repr=False, gt=0)
    """The server's token count of the prompt; used only between an endpoint and `Guard`."""

    @classmethod
    def none(cls, problem: str) -> "Verdict":
        """The verdict of a turn that could not be judged."""
        return cls(severity=None, problem=problem)

    @property
    def reached(self) -> bool:
        return self.severity is not None


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict over several windows of one turn.

    An unsafe window decides, whatever the others are. Otherwise a missing verdict decides, since a window that was not
    judged could contain anything. The categories of all windows with the deciding severity are joined.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    unreached = next((verdict for verdict in verdicts if not verdict.reached), None)
    top = max(verdicts, key=_rank)
    if unreached is not None and top.severity is not Severity.UNSAFE:
        return unreached
    joined = dict.fromkeys(c for verdict in verdicts if verdict.severity is top.severity for c in verdict.categories)
    return top.model_copy(update={"categories": tuple(joined)})


def _rank(verdict: Verdict) -> tuple[int, float]:
    """Sort key: severity, then probability of harm, since a threshold may refuse a turn that is labelled Safe."""
    harm = 1 - verdict.probabilities[Severity.SAFE] if verdict.probabilities else 0.0
    return SEVERITY_ORDER.index(verdict.severity) if verdict.severity else -1, harm


def parse_reply(text: str, kind: Kind) -> Verdict:
    """Parse a full reply strictly: line by line, each label once, names exactly as published; spaces do not count.

    Only what some servers leave around the reply is removed: an empty think block before it, control tokens after it.

    Args:
        text: the guard's whole reply, e.g. "Safety: Unsafe\\nCategories: Violent".
        kind: "prompt", or "response", whose reply has a `Refusal:` line too.

    Returns:
        The verdict. An unreadable reply gives a verdict without severity, never an exception.
    """
    fields: dict[str, str] = {}
    if len(text) > _LONGEST_REPLY:
        return _unreadable(text)
    for line in _bare(text).splitlines():
        name, colon, value = map(str.strip, line.partition(":"))
        if not line.strip():
            continue
        if not colon or name not in ("Safety", "Categories", "Refusal") or name in fields:
            return _unreadable(text)
        fields[name] = value
    try:
        severity = Severity(fields["Safety"])
        categories = _named_categories(fields.get("Categories", "None"))
    except (KeyError, ValueError):
        return _unreadable(text)
    refusal = fields.get("Refusal")
    if refusal not in ("Yes", "No", None) or (severity is Severity.SAFE and categories):
        return _unreadable(text)
    refuses = None if refusal is None or kind == "prompt" else refusal == "Yes"
    return Verdict(severity=severity, categories=applicable(categories, kind), refusal=refuses)


def _bare(text: str) -> str:
    bare = _EMPTY_THOUGHTS.sub("", text).strip()
    # One by one from the end: a single pattern for all of them would be tried at every space, in quadratic time.
    while found := _LAST_CONTROL.search(bare, max(0, len(bare) - _LONGEST_CONTROL)):
        bare = bare[: found.start()].rstrip()
    return bare


def _named_categories(value: str) -> list[Category]:
    # Nothing comes after "Categories:" if a server ends the reply there.
    return [] if value in ("None", "") else [Category(name.strip()) for name in value.split(",")]


def _unreadable(text: str) -> Verdict:
    return Verdict.none(f"the guard's reply could not be read: {text[:80]!r}")
