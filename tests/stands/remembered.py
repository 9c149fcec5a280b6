"""What a guard knows without asking its server."""

from moderation.conversation import Conversation
from moderation.guard import Guard
from moderation.verdict import Verdict


async def remembered(guard: Guard, conversation: Conversation) -> Verdict | None:
    """The verdict of the last turn, if it was judged before."""
    *before, turn = conversation
    return guard.cached(await guard.context(before), turn.role, await guard.read(turn.text))
