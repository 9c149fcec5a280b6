"""What an admin wants."""

from dataclasses import dataclass, field
from enum import StrEnum


class HostKind(StrEnum):
    """The program that runs the plugins."""

    FUNCTIONS = "functions"
    """Open WebUI itself."""
    PIPELINES = "pipelines"
    """A Pipelines server."""


class Protect(StrEnum):
    """What protects the users."""

    MODELS = "models"
    """Guarded models take the place of the direct ones, which nobody else can reach."""
    FILTER = "filter"
    """The models stay as they are, and the filter judges what the page and programs ask them."""
    BOTH = "both"
    """The models keep their names, and guarded ones answer for them."""


@dataclass(frozen=True)
class Options:
    """`guard_url` and `guard_key`: None keeps what the plugins have. `pipelines`: the server's address; None for the
    one that is connected.
    """

    host: HostKind
    protect: Protect
    guard_url: str | None
    guard_key: str | None = field(default=None, repr=False)
    pipelines: str | None = None
    pipelines_key: str | None = field(default=None, repr=False)
    upgrade: bool = False

    @property
    def has_models(self) -> bool:
        return self.protect is not Protect.FILTER

    @property
    def has_filter(self) -> bool:
        return self.protect is not Protect.MODELS
