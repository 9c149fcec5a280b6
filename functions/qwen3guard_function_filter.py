"""The filter: no unsafe prompt reaches a model, and nothing unsafe of an answer is shown."""

from functions.filter_valves import FunctionFilterValves
from functions.moderation_service import ModerationService


class Filter:
    """What Open WebUI loads. One object serves all requests of a worker."""

    Valves = FunctionFilterValves

    def __init__(self) -> None:
        self.valves = self.Valves()
        self._service = ModerationService()
