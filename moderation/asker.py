"""Who asks for a verdict and how urgent the check is: set once per request, inherited by all of its asyncio tasks."""

from contextvars import ContextVar
from typing import NamedTuple

# A client may send a user id of any length.
_MOST_OF_AN_ID = 256


class Asker(NamedTuple):
    """Who a check is for. `FairSlots` uses it to order checks."""

    user: str | None
    """None if the user is unknown. All unknown users share one queue."""
    later: bool
    """True for a later check of a streamed answer, whose reader already has some text to read."""


_user: ContextVar[str | None] = ContextVar("asker_user", default=None)
_later: ContextVar[bool] = ContextVar("asker_later", default=False)


def asking_for(user: object) -> None:
    """Set the user for this task and the tasks that it starts. None or "" means unknown."""
    _user.set(str(user)[:_MOST_OF_AN_ID] if user else None)


def asking_later(later: bool) -> None:
    """Set, for this task and the tasks that it starts, whether checks are later checks of a streamed answer."""
    _later.set(later)


def current_asker() -> Asker:
    """The asker of the current task."""
    return Asker(_user.get(), _later.get())
