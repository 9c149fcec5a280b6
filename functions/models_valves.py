"""The settings of the guarded models, as Open WebUI's page of Functions shows them."""

from typing import Literal

from pydantic import Field

from webui.moderator import ModerationValves
from webui.settings import Text


class FunctionModelsValves(ModerationValves):
    """The settings that only the guarded models have."""

    models: Text = Field("*", description="Models to offer, such as llama*, qwen*")
    model_names: Text = Field("{model} (guarded)", description="What users read; {model} is the model's own name")
    prompt_check: Literal["parallel", "before"] = Field(
        "parallel", description="before: the model gets nothing that was not judged, one check later"
    )
    stream_mode: Literal["hold", "retract"] = Field(
        "hold", description="retract shows text at once and takes it back when it is refused"
    )
    system_prompts: Literal["judge", "trust"] = Field("judge", description="System texts that no admin wrote")
