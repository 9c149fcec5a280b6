"""The texts by which the protection check is recognised, and by which it recognises what admins are told.

Anybody may write them. The mark changes no verdict, it is only recorded; the test answer can only withhold an answer.
"""

from moderation.conversation import Role
from moderation.verdict import Severity, Verdict

PROBE_MARK = "qwen3guard-probe"
PROBE_ANSWER = f"{PROBE_MARK}-answer-7c1f"
"""Unsafe in an answer, so that no chat model must be made to say something that is. Like the test file of virus
scanners, which is harmless and which all of them report."""

ADMINS_ONLY = "Only admins read this:"
"""Under a notice, before what admins alone are told."""


def is_probe(text: str) -> bool:
    """Whether a turn names itself a probe."""
    return PROBE_MARK in text


def with_probe(verdict: Verdict, role: Role, text: str) -> Verdict:
    """The guard's verdict on a turn; if it is the test answer, and the guard reached a verdict, that it is unsafe."""
    if role != "assistant" or PROBE_ANSWER not in text or not verdict.reached:
        return verdict
    return verdict.model_copy(update={"severity": Severity.UNSAFE, "categories": (), "probabilities": None})
