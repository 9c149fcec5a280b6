"""The refusal model: a pipe that answers with the notice which the filter sent along, and knows nothing else."""

from collections.abc import Iterator
from typing import Any

from pipelines.marks.signed_notice import refuse
from pipelines.marks.signing import unsigned
from webui.log import log


class Pipeline:
    """What the Pipelines server loads."""

    # No `type` attribute: the server does not list a pipe whose `type` is "pipe" (its main.py, get_all_pipelines).

    def __init__(self) -> None:
        self.name = "Qwen3Guard refusal"
        if problem := unsigned():
            log.warning("%s", problem)

    def pipe(
        self, user_message: Any, model_id: str, messages: list[dict[str, Any]], body: dict[str, Any]
    ) -> dict[str, Any] | Iterator[dict[str, Any] | str]:
        return refuse(user_message, model_id, body)
