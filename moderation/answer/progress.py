"""How far an unfinished answer is judged: when the next check is due, and what the result of each check means.

Pure state, without clock or guard: one host watches an answer in a task of its own, another while its events pass.
"""

from enum import StrEnum
from typing import NamedTuple

from moderation.answer.channels import Piece, Reading
from moderation.answer.growing import Judged
from moderation.answer.holdback import HoldBack
from moderation.policy import Action, Decision

# Seconds from the start of one check to the start of the next. The pause is short at first, so that the first words
# appear soon, and doubles up to what is still acceptable for a reader. An answer of s seconds takes about s / 0.5 + 4
# checks.
_FIRST_PAUSE = 0.06
_LONGEST_PAUSE = 0.5


class End(StrEnum):
    """How a watched answer ended."""

    COMPLETE = "complete"
    REFUSED = "refused"
    WITHHELD = "withheld"


class CheckOutcome(NamedTuple):
    """What a check brought."""

    released: list[Piece]
    """Pieces that it cleared."""
    end: End | None
    """How the answer ended; None if it goes on."""


class Progress:
    """The checks of one answer, which are made one after another.

    Args:
        held: the answer.
        now: the time. All times are of one clock, in seconds.
    """

    def __init__(self, held: HoldBack, now: float) -> None:
        self._held = held
        self._pause = _FIRST_PAUSE
        self._started = now
        self._frozen = False
        self.due = now
        """When the next check may start."""
        self.judged = 0
        """Characters that the last check covered."""

    def has_more(self) -> bool:
        """Whether there is new text for a check. The first one does not wait for a whole word: its reader waits."""
        return (self._held.finished_words() if self.judged else self._held.arrived) > self.judged

    def reading(self) -> Reading:
        """What the next check of an unfinished answer is to judge."""
        return self._held.reading(words=self.judged > 0)

    def started(self, now: float) -> None:
        """A check starts."""
        self._started = now
        self.due, self._pause = now + self._pause, min(2 * self._pause, _LONGEST_PAUSE)

    def ended(self, now: float) -> None:
        """It is over. After a slow check, the next one waits for as long as it took: the guard is busy."""
        self.due = max(self.due, now + min(now - self._started, _LONGEST_PAUSE))

    def outcome(self, result: Judged, decision: Decision, reading: Reading, *, whole: bool, now: float) -> CheckOutcome:
        """What the result of a check means.

        Args:
            result: of the check.
            decision: what the policy says of it.
            reading: what was checked.
            whole: whether that is all of the answer, which is complete.
            now: the time.
        """
        judged, self.judged = self.judged, reading.arrived
        cleared = min(result.cleared, len(reading.text))
        finished = whole and cleared == len(reading.text)
        if decision.passes:
            self._frozen = False
            in_whole = finished or (judged > 0 and cleared == len(reading.text))
            released = self._held.release(reading, cleared, words=not in_whole, end=finished)
            return CheckOutcome(released, End.COMPLETE if finished else None)
        if decision.action is Action.WITHHOLD:
            return CheckOutcome([], End.WITHHELD)
        if self._frozen or finished or result.sure:
            return CheckOutcome([], End.REFUSED)
        self._frozen = True
        self.due = now + _LONGEST_PAUSE
        return CheckOutcome([], None)
