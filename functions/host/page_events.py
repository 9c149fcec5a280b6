"""What Open WebUI's page is told of an answer."""

from collections.abc import Awaitable, Callable
from typing import Any

from webui.bodies import Body

Emitter = Callable[[Body], Awaitable[Any]]


async def show_output(emit: Emitter, output: list[Body]) -> None:
    """Let the page show `output` in place of the answer: it reads this, and no event that changes a text."""
    await emit({"type": "chat:completion", "data": {"done": True, "output": output}})
