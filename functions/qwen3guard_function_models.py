"""Guarded models: Open WebUI's own models, with nothing unsafe going in or out, whichever way they are called."""

from functions.models_valves import FunctionModelsValves
from functions.moderation_service import ModerationService


class Pipe:
    """What Open WebUI loads. One object serves all requests of a worker."""

    Valves = FunctionModelsValves

    def __init__(self) -> None:
        self.name = ""
        self.valves = self.Valves()
        self._service = ModerationService()
