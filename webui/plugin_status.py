"""What an admin is told who asks with the protection check's mark: which plugin judged, and how the guard is asked."""

from moderation.endpoint.problems import shown_address
from moderation.endpoint.server_facts import ServerFacts
from moderation.version import VERSION


def plugin_status(address: str, facts: ServerFacts | None) -> str:
    """One line. `guard_server/open_webui/chat_replies.py` reads the version in it."""
    if facts is None:
        return f"Plugin {VERSION}; its guard at {shown_address(address)} was not asked yet."
    owner = f", {facts.owner}" if facts.owner else ""
    return f"Plugin {VERSION}; its guard is {facts.model} ({shown_address(address)}{owner}), by {facts.dialect}."
