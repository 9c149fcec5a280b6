"""Verdicts of one token: a reply that is made to begin with "Safety:" goes on with a label.

The chat template of a server started by `guard_server` takes how the reply begins; others ignore the keyword, and the
model writes "Safety" itself. This is the one place that tells the two apart, and that reads labels from tokens.
"""

import math
from collections.abc import Sequence
from typing import Any

from moderation.replies import ReplyToken, TokenCandidate
from moderation.verdict import Severity

VERDICT_PREFILL = "Safety:"
# A label that is not reported counts as impossible where it is less likely than this.
_NEGLIGIBLE = 0.001
# Some servers show a token as it stands in the vocabulary, where these are its space (byte-level BPE; SentencePiece).
_SPACES = str.maketrans("Ġ▁", "  ")


def prefilled(prefill: str) -> dict[str, Any]:
    """The field of a request whose reply is to begin with `prefill`."""
    return {"chat_template_kwargs": {"verdict_prefill": prefill}}


def severity_after_prefill(first: str) -> Severity | None:
    """The label that a reply's first token begins; None where the prefill was not honoured.

    "Safe" without its space may be the beginning of "Safety", which a server writes that ignores the prefill.
    """
    text = first.translate(_SPACES)
    severity = label_severity(text)
    return None if severity is Severity.SAFE and not text[0].isspace() else severity


def label_token(tokens: Sequence[ReplyToken]) -> ReplyToken | None:
    """The token behind "Safety:" in a full reply, which is to be a label's."""
    said = ""
    for token in tokens:
        text = token.token.translate(_SPACES)
        if said.rstrip().endswith(VERDICT_PREFILL) and text.strip():
            return token
        said = said[-len(VERDICT_PREFILL) :] + text
    return None


def label_probabilities(token: ReplyToken) -> dict[Severity, float] | None:
    """Of the three labels, made to add up to 1; None where one of them was not reported and may still be likely."""
    top: Sequence[TokenCandidate] = token.top_logprobs or ()
    found = dict.fromkeys(Severity, 0.0)
    for candidate in top:
        severity = label_severity(candidate.token)
        if severity is not None:
            found[severity] += math.exp(candidate.logprob)
    # What a server leaves out is less likely than all that it reports.
    unreported = math.exp(min((candidate.logprob for candidate in top), default=0.0))
    if not any(found.values()) or (not all(found.values()) and unreported > _NEGLIGIBLE):
        return None
    total = sum(found.values())
    return {severity: mass / total for severity, mass in found.items()}


def label_severity(token: str) -> Severity | None:
    """The label that `token` begins: "Safe" in whole, since "Safety" begins so too; of the others a part will do."""
    text = token.translate(_SPACES).strip()
    if text == Severity.SAFE:
        return Severity.SAFE
    others = (Severity.CONTROVERSIAL, Severity.UNSAFE)
    return next((severity for severity in others if len(text) > 1 and severity.startswith(text)), None)
