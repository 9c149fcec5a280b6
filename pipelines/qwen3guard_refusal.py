"""The refusal model: a pipe that answers with the notice which the filter sent along, and knows nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.marks.signed_notice import REFUSAL_NAME, refuse
from pipelines.marks.signing import unsigned
from pipelines.refusal_route import note_answer
from webui.log import log


class Pipeline:
    """What the Pipelines server loads."""

    # No `type` attribute: the server does not list a pipe whose `type` is "pipe" (its main.py, get_all_pipelines).

    def __init__(self) -> None:
        self.name = REFUSAL_NAME
        self._home = Path(__file__).with_suffix("")
        if problem := unsigned():
            log.warning("%s", problem)

    def pipe(
        self, user_message: Any, model_id: str, messages: list[dict[str, Any]], body: dict[str, Any]
    ) -> dict[str, Any] | Iterator[dict[str, Any] | str]:
        note_answer(self._home, body.get("user"))
        return refuse(user_message, model_id, body)
