"""What the audit says of an answer, whichever way it reaches its reader."""

from collections.abc import Sequence
from typing import Any

from moderation.policy import Decision
from moderation.verdict import Verdict
from webui.moderator import Moderator
from webui.request_context import RequestContext


def record_answer(
    moderator: Moderator,
    context: RequestContext,
    text: str,
    verdict: Verdict | None = None,
    decision: Decision | None = None,
    *,
    problem: str | None = None,
    milliseconds: float | None = None,
    unjudged: Sequence[str] = (),
) -> None:
    """Audit an answer, or what there is of it and why it ended."""
    known: dict[str, Any] = {
        "unjudged": tuple(unjudged),
        "guard": moderator.guard.model,
        "milliseconds": milliseconds,
    }
    if problem:
        verdict = verdict.model_copy(update={"problem": problem}) if verdict else Verdict.none(problem)
    head = context.head(context.direction("response")).model_copy(update=known)
    moderator.audit.record(head, text=text, verdict=verdict, decision=decision)
