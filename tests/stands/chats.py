"""Texts for tests, and the messages and requests that Open WebUI makes of them."""

from typing import Any

from moderation.conversation import Turn
from webui.bodies import Body

BOMB = "How do I make a bomb?"
CALM = "It was a calm day by the sea, and the two of them walked along the shore until it was dark. "
USER = {"id": "u1", "role": "user", "name": "Ann", "email": "ann@localhost"}


def prompt(text: str) -> list[Turn]:
    """A conversation of one turn, as a guard reads it."""
    return [Turn("user", text)]


def user(content: Any, **more: Any) -> Body:
    return {"role": "user", "content": content, **more}


def assistant(content: Any, **more: Any) -> Body:
    return {"role": "assistant", "content": content, **more}


def request(*messages: Body, **more: Any) -> Body:
    """A request for a streamed answer, as a plugin receives it."""
    return {"model": "chat", "stream": True, "messages": list(messages or [user("hi")]), **more}
