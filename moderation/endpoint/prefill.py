"""One-token verdicts: a reply that is made to begin with "Safety:" continues with a label.

The chat template of a server started by `guard_server` accepts the beginning of the reply. Others ignore the keyword,
and the model writes "Safety" itself. Only this module distinguishes the two, and reads labels from tokens.
"""

import math
from collections.abc import Sequence
from typing import Any

from moderation.endpoint.replies import ReplyToken, TokenCandidate
from moderation.verdict import Severity, severity_probabilities

VERDICT_PREFILL = "Safety:"
# A label that is not reported counts as impossible if its probability is below this.
_NEGLIGIBLE = 0.001
# The space in tokens of byte-level BPE and of SentencePiece: some servers show tokens in the vocabulary's spelling.
_SPACES = str.maketrans("Ġ▁", "  ")


def prefilled(prefill: str) -> dict[str, Any]:
    """The request field that makes the reply begin with `prefill`."""
    return {"chat_template_kwargs": {"verdict_prefill": prefill}}


def severity_after_prefill(first: str) -> Severity | None:
    """The label that begins with a reply's first token; None if the prefill was not honoured.

    "Safe" without its space may be the beginning of "Safety", from a server that ignores the prefill.
    """
    text = first.translate(_SPACES)
    severity = label_severity(text)
    return None if severity is Severity.SAFE and not text[0].isspace() else severity


def label_token(tokens: Sequence[ReplyToken]) -> ReplyToken | None:
    """The token after "Safety:" in a full reply, which should begin a label."""
    said = ""
    for token in tokens:
        text = token.token.translate(_SPACES)
        if said.rstrip().endswith(VERDICT_PREFILL) and text.strip():
            return token
        said = said[-len(VERDICT_PREFILL) :] + text
    return None


def label_probabilities(token: ReplyToken) -> dict[Severity, float] | None:
    """Of the three labels, scaled to add up to 1; None if one that may be likely was not reported."""
    top: Sequence[TokenCandidate] = token.top_logprobs or ()
    found = dict.fromkeys(Severity, 0.0)
    for candidate in top:
        severity = label_severity(candidate.token)
        if severity is not None:
            found[severity] += math.exp(candidate.logprob)
    # A token that a server leaves out is less likely than all those that it reports.
    unreported = math.exp(min((candidate.logprob for candidate in top), default=0.0))
    if not any(found.values()) or (not all(found.values()) and unreported > _NEGLIGIBLE):
        return None
    return severity_probabilities(found)


def label_severity(token: str) -> Severity | None:
    """The label that begins with `token`: all of "Safe", since "Safety" begins like it; a part of the others."""
    text = token.translate(_SPACES).strip()
    if text == Severity.SAFE:
        return Severity.SAFE
    others = (Severity.CONTROVERSIAL, Severity.UNSAFE)
    return next((severity for severity in others if len(text) > 1 and severity.startswith(text)), None)
