"""What the filter and the guarded models tell each other about one request, in the state of Open WebUI's request.

Both are files of their own, so they share no class: what is told is made of plain objects. No client can reach it.
"""

from typing import Any

from webui.bodies import Body, object_or_empty

CHECK_ENTRY = "check"
"""The hidden entry of the guarded models' function that answers for the model that the user picked."""
_ROUTES = "qwen3guard_routes"


def check_model(function: str) -> str:
    """The id of the hidden entry of `function`."""
    return f"{function}.{CHECK_ENTRY}"


def send_through(request: Any, message: str, body: Body, function: str, picked: str) -> Body:
    """The request as it goes to the hidden entry of `function`, which answers for the model `picked`.

    Args:
        request: Open WebUI's.
        message: the id of the answer; empty for a program's. Several models may share one request.
        body: as it may be sent.
        function: the id of the guarded models' function.
        picked: the id of the model.
    """
    _routes(request)[message] = {"model": picked, "answered": False}
    return {**body, "model": check_model(function)}


def picked_model(request: Any, message: str) -> str | None:
    """The model that the filter wants an answer of; None if it sent no request here."""
    model = object_or_empty(_routes(request).get(message)).get("model")
    return model if isinstance(model, str) else None


def mark_answered(request: Any, message: str) -> None:
    """Let the filter know that the guarded models make this answer."""
    _routes(request).setdefault(message, {})["answered"] = True


def is_answered(request: Any, message: str) -> bool:
    """Whether the guarded models make this answer."""
    return object_or_empty(_routes(request).get(message)).get("answered") is True


def _routes(request: Any) -> Body:
    if not isinstance(getattr(request.state, _ROUTES, None), dict):
        setattr(request.state, _ROUTES, {})
    found: Body = getattr(request.state, _ROUTES)
    return found
