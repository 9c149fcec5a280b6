"""What a reader gets to read of a failed upstream."""

from moderation.conversation import Turn
from webui.guarded.upstream import UpstreamFailed
from webui.moderator import Moderator


async def explained(moderator: Moderator, failed: UpstreamFailed, *, exempt: bool = False) -> str:
    """The failure in words: in the server's own only if the guard clears them, or nobody judges."""
    if not failed.words:
        return failed.message
    verdict = await moderator.guard.judge([Turn("assistant", failed.words)])
    passes = exempt or moderator.policy.decide(verdict).passes
    return str(failed) if passes else f"{failed.message}."
