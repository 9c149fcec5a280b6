"""Where the plugins run: in a Pipelines server, or in Open WebUI's own process, as Functions."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from demo.errors import StackError
from demo.state import ROOT
from demo.webui_client.protection import Protection
from pipelines.upstreams.model_ids import REFUSAL_ENTRY

# The ids of the plugins, which are also the names of their files.
FILTER = "qwen3guard_filter"
MODELS = "qwen3guard_models"
FILTER_REFUSAL = "qwen3guard_refusal"
FUNCTION_FILTER = "qwen3guard_function_filter"
FUNCTION_MODELS = "qwen3guard_function_models"


class Host(StrEnum):
    """The program that runs the plugins."""

    PIPELINES = "pipelines"
    FUNCTIONS = "functions"

    @classmethod
    def from_environment(cls) -> Host:
        """The value of HOST; `pipelines` if it is not set. Raises `StackError`."""
        wanted = os.environ.get("HOST", "").strip().lower() or cls.PIPELINES
        try:
            return cls(wanted)
        except ValueError:
            raise StackError(f"HOST={wanted}: it must be one of {', '.join(cls)}.") from None

    @property
    def filter(self) -> str:
        """The id of the filter."""
        return {Host.PIPELINES: FILTER, Host.FUNCTIONS: FUNCTION_FILTER}[self]

    @property
    def models(self) -> str:
        """The id of the guarded models; theirs are this, a dot, and more."""
        return {Host.PIPELINES: MODELS, Host.FUNCTIONS: FUNCTION_MODELS}[self]

    def refusal(self, protection: Protection) -> str | None:
        """The model that delivers the filter's notices. A Function needs none: Open WebUI shows what it raises."""
        if self is Host.FUNCTIONS:
            return None
        return {Protection.FILTER: FILTER_REFUSAL, Protection.BOTH: f"{MODELS}.{REFUSAL_ENTRY}"}.get(protection)

    def files(self, protection: Protection) -> list[Path]:
        """The files to install, in this order."""
        names = [
            *([self.models] if protection.guarded else []),
            *([self.filter] if protection.direct else []),
            *([FILTER_REFUSAL] if self.refusal(protection) == FILTER_REFUSAL else []),
        ]
        return [ROOT / f"dist/{name}.py" for name in names]
