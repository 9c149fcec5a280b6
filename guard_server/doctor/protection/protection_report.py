"""What the protection check found, as values."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from guard_server.doctor.examination import Level
from guard_server.errors import WebuiError
from guard_server.open_webui.records import Body


class PathState(StrEnum):
    """Whether something unsafe can pass on a path."""

    PROTECTED = "protected"
    """An unsafe prompt and an unsafe answer were withheld, harmless ones pass."""
    OPEN = "open"
    """Something unsafe passes."""
    CLOSED = "closed"
    """Nothing passes."""
    NOT_SEEN = "not seen"
    """An unsafe prompt was withheld; of answers nothing could be seen."""


class PathFinding(BaseModel):
    """One way to one model."""

    model_config = ConfigDict(frozen=True)

    model: str
    path: str
    state: PathState
    level: Level
    why: str
    remedy: str | None = None


class SettingFinding(BaseModel):
    """One thing that an admin set, or forgot to set."""

    model_config = ConfigDict(frozen=True)

    setting: str
    level: Level
    found: str
    remedy: str | None = None


class ProtectionReport(BaseModel):
    """All of it, in the order in which it is printed."""

    model_config = ConfigDict(frozen=True)

    url: str
    version: str
    settings: tuple[SettingFinding, ...]
    paths: tuple[PathFinding, ...]

    @property
    def protected(self) -> bool:
        """Whether no path is open, and nothing failed. Warnings do not count."""
        return self.failures == 0

    @property
    def failures(self) -> int:
        levels = [*(one.level for one in self.settings), *(one.level for one in self.paths)]
        return levels.count(Level.FAILURE)

    def as_body(self) -> Body:
        """For programs, with a line `text` that chat programs show."""
        said = "are protected" if self.protected else "may not be protected"
        text = f"Qwen3Guard: users of {self.url} {said}."
        return {"text": text, "protected": self.protected} | self.model_dump(mode="json")

    def differs_from(self, earlier: "ProtectionReport") -> bool:
        """Whether an admin wants to hear of it: words may differ, such as the time of an error."""
        return self._answers() != earlier._answers()

    def _answers(self) -> set[tuple[str, ...]]:
        paths = {(one.model, one.path, one.state, one.level) for one in self.paths}
        return paths | {(one.setting, one.level) for one in self.settings}


def impossible_body(error: WebuiError) -> Body:
    """In place of a report: the check was not possible."""
    return {"text": f"Qwen3Guard: {error.cause} {error.remedy}", "protected": None}
