"""What a stream endpoint of `guard_server` says, as verdicts: see docs/guard-stream.md."""

from collections.abc import Mapping
from typing import Any, Literal

from moderation.verdict import Category, Severity, Verdict

# A probability, and what rounding may add to it.
_MOST_PROBABLE = 1.001
# Without an excerpt: what is no reply of ours may quote the key.
_UNREADABLE_STREAM = "the guard's stream could not be read: its reply is none of a stream endpoint of this version"


def prompt_verdict(reply: Mapping[str, Any]) -> Verdict:
    """Of the last user turn, from the first reply of a stream."""
    return _verdict_of(reply.get("prompt"))


def answer_verdict(reply: Mapping[str, Any], strictness: Literal["strict", "loose"]) -> Verdict:
    """Of the answer so far: where it is to be refused under `strictness`, of that place."""
    try:
        violations = reply["violations"]
        found = violations[strictness] or violations["strict"]
        if not all(type(place) is int and place >= 0 for place in _both(reply["cleared"])):
            return Verdict.none(_UNREADABLE_STREAM)
    except (KeyError, TypeError):
        return Verdict.none(_UNREADABLE_STREAM)
    return Verdict(severity=Severity.SAFE) if found is None else _verdict_of(found)


def _both(told: Any) -> tuple[Any, Any]:
    return told["strict"], told["loose"]


def _verdict_of(found: Any) -> Verdict:
    try:
        severity = Severity(found["severity"])
        categories = () if severity is Severity.SAFE else (Category(found["category"]),)
        probabilities = {severity: float(found["probabilities"][severity]) for severity in Severity}
    except (KeyError, OverflowError, TypeError, ValueError):
        return Verdict.none(_UNREADABLE_STREAM)
    if not all(0 <= probability <= _MOST_PROBABLE for probability in probabilities.values()):
        return Verdict.none(_UNREADABLE_STREAM)
    return Verdict(severity=severity, categories=categories, probabilities=probabilities)
