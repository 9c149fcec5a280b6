"""Decides from the guard's verdict at each token whether an answer is refused.

The rule of the Qwen3Guard technical report (section 4): at token i, when tokens i-1 and i are both flagged. Strict
counts a Controversial token as flagged, loose does not.
"""

from moderation.policy import HARMFUL, Strictness
from moderation.verdict import SEVERITY_ORDER, Severity


class TwoInARow:
    """The rule for one strictness, fed with one severity per token."""

    def __init__(self, strictness: Strictness) -> None:
        self._harmful = HARMFUL[strictness]
        self._last: Severity | None = None
        self._count = 0
        self.violation: int | None = None
        """Index of the token that completes the first pair of flagged tokens."""
        self.severity = Severity.SAFE
        """The lesser severity of the two tokens of that pair."""

    def feed(self, severity: Severity) -> None:
        """Add the next token. After a violation, further tokens change nothing."""
        if self.violation is not None:
            return
        flagged = severity in self._harmful
        if flagged and self._last is not None:
            self.violation = self._count
            self.severity = min(self._last, severity, key=SEVERITY_ORDER.index)
        self._last = severity if flagged else None
        self._count += 1

    @property
    def cleared(self) -> int:
        """How many tokens, from the first, may be read: a flagged token is held until the verdict at the next one."""
        if self.violation is not None:
            return self.violation - 1
        return self._count - (self._last is not None)
