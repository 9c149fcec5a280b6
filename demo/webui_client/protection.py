"""What protects the chats: the guarded models, the filter, or both."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from demo.errors import StackError
from demo.state import ROOT
from pipelines.upstreams.model_ids import REFUSAL_ENTRY

FILTER = "qwen3guard_filter"
MODELS = "qwen3guard_models"
FILTER_REFUSAL = "qwen3guard_refusal"


class Protection(StrEnum):
    """`guarded`: the guarded models are Open WebUI's only models. `filter`: its models are connected directly, and the
    filter checks them. `both`: guarded models first, then the direct ones with the filter.
    """

    GUARDED = "guarded"
    FILTER = "filter"
    BOTH = "both"

    @classmethod
    def from_environment(cls) -> Protection:
        """The value of PROTECTION; `guarded` if it is not set. Raises `StackError`."""
        wanted = os.environ.get("PROTECTION", "").strip().lower() or cls.GUARDED
        try:
            return cls(wanted)
        except ValueError:
            raise StackError(f"PROTECTION={wanted}: it must be one of {', '.join(cls)}.") from None

    @property
    def guarded(self) -> bool:
        return self is not Protection.FILTER

    @property
    def direct(self) -> bool:
        """Whether Open WebUI is connected to the chat model directly."""
        return self is not Protection.GUARDED

    @property
    def refusal(self) -> str | None:
        """The model that delivers the filter's notices, if there is a filter."""
        return {Protection.FILTER: FILTER_REFUSAL, Protection.BOTH: f"{MODELS}.{REFUSAL_ENTRY}"}.get(self)

    @property
    def files(self) -> list[Path]:
        """The files to upload to the Pipelines server, in this order."""
        names = {
            Protection.GUARDED: [MODELS],
            Protection.FILTER: [FILTER, FILTER_REFUSAL],
            Protection.BOTH: [MODELS, FILTER],
        }[self]
        return [ROOT / f"dist/{name}.py" for name in names]
