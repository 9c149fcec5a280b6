"""The settings of the guarded models, as Open WebUI's page of Functions shows them."""

from typing import Literal

from pydantic import Field

from webui.moderator import ModerationValves
from webui.settings import NOTHING, Text


class FunctionModelsValves(ModerationValves):
    """The settings that only the guarded models have."""

    models: Text = Field("*", description="Models to offer, such as llama*, qwen*; none offers none")
    model_names: Text = Field("{model} (guarded)", description="What users read; {model} is the model's own name")
    prompt_check: Literal["parallel", "before"] = Field(
        "parallel", description="before: the model gets nothing that was not judged, one check later"
    )
    stream_mode: Literal["hold", "retract"] = Field(
        "hold", description="retract shows text at once and takes it back when it is refused"
    )
    upstream_timeout_seconds: float = Field(300, gt=0, description="Longest silence of a model")
    system_prompts: Literal["judge", "trust"] = Field("judge", description="System texts that no admin wrote")
    require_filter: Text = Field(
        NOTHING, description="The id of a filter: while it is not active and global, no guarded model answers"
    )
    hidden_entry: bool = Field(True, description="Offer the hidden model that the filter sends requests through")
