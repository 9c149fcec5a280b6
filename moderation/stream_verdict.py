"""What a stream endpoint of `guard_server` says, as verdicts: see docs/guard-stream.md."""

import reprlib
from collections.abc import Mapping
from typing import Any, Literal

from moderation.verdict import Category, Severity, Verdict


def prompt_verdict(reply: Mapping[str, Any]) -> Verdict:
    """Of the last user turn, from the first reply of a stream."""
    return _verdict_of(reply.get("prompt"))


def answer_verdict(reply: Mapping[str, Any], strictness: Literal["strict", "loose"]) -> Verdict:
    """Of the answer so far: where it is to be refused under `strictness`, of that place."""
    try:
        violations = reply["violations"]
        found = violations[strictness] or violations["strict"]
        if not all(type(place) is int and place >= 0 for place in _both(reply["cleared"])):
            return _unreadable_stream(reply)
    except (KeyError, TypeError):
        return _unreadable_stream(reply)
    return Verdict(severity=Severity.SAFE) if found is None else _verdict_of(found)


def _both(told: Any) -> tuple[Any, Any]:
    return told["strict"], told["loose"]


def _verdict_of(found: Any) -> Verdict:
    try:
        severity = Severity(found["severity"])
        categories = () if severity is Severity.SAFE else (Category(found["category"]),)
        probabilities = {severity: float(found["probabilities"][severity]) for severity in Severity}
    except (KeyError, OverflowError, TypeError, ValueError):
        return _unreadable_stream(found)
    if not all(0 <= probability <= 1 for probability in probabilities.values()):
        return _unreadable_stream(found)
    return Verdict(severity=severity, categories=categories, probabilities=probabilities)


def _unreadable_stream(reply: Any) -> Verdict:
    return Verdict.none(f"the guard's stream could not be read: {reprlib.repr(reply)[:80]}")
