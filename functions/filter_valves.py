"""The settings of the filter, as Open WebUI's page of Functions shows them."""

from typing import Literal

from pydantic import Field

from webui.moderator import ModerationValves
from webui.settings import Text

# Filters run in ascending order: nothing that comes later may change what was judged.
_LAST = 1_000_000


class FunctionFilterValves(ModerationValves):
    """The settings that only the filter has."""

    priority: int = Field(_LAST, description="Order among filters, lowest first: the last one sees what all others did")
    answers: Literal["filter", "models"] = Field(
        "filter", description="models sends every request through the guarded models' function, under the same names"
    )
    models_function: Text = Field(
        "qwen3guard_function_models", description="The id that you gave to the guarded models' function"
    )
    unstreamed: Literal["judge", "refuse"] = Field(
        "judge", description="Requests of programs without stream: judge needs the guarded models' function, too"
    )
    stream_mode: Literal["hold", "retract"] = Field(
        "hold", description="retract shows text at once and takes it back when it is refused"
    )
    rewrite_history: bool = Field(True, description="Replace refused prompts in the stored chat too")
