"""Reads the cached verdicts of a guard."""

from moderation.conversation import Conversation
from moderation.guard import Guard
from moderation.verdict import Verdict


async def remembered(guard: Guard, conversation: Conversation) -> Verdict | None:
    """The cached verdict of the last turn, if there is one."""
    *before, turn = conversation
    return guard.cached(await guard.context(before), turn.role, await guard.read(turn.text))
