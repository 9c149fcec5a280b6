"""The record of an installation: what was where before. It has no key and no token."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from guard_server import __version__
from guard_server.errors import RecordUnusable
from guard_server.install.kept_place import KeptPlace, named, place_of
from guard_server.install.options import HostKind, Protect
from guard_server.open_webui.records import Body


class _KeptValue(BaseModel):
    place: Body
    before: Any
    after: str = ""
    """The digest of what was written last; empty while it is being written."""


class _Content(BaseModel):
    webui: str
    host: HostKind
    protect: Protect
    entries: list[_KeptValue] = []
    closed: list[_KeptValue] = []
    """Connections that one step keeps off while it is done."""


@dataclass(frozen=True)
class Change:
    """One place, and what was there before anything of ours."""

    place: KeptPlace
    before: Any
    after: str

    def is_ours(self, value: Any) -> bool:
        """Whether a value is the one that we wrote last. A run that ended while it wrote did not say which."""
        return self.after in ("", digest(value))


class UndoRecord:
    """One file for each Open WebUI. It is written before each change."""

    def __init__(self, path: Path, webui: str) -> None:
        self.path = path
        self.content = _read(path)
        if self.content is not None and self.content.webui != webui:
            raise RecordUnusable(
                f"{path} is the record of {self.content.webui}, not of {webui}.",
                f"If that is the same Open WebUI, give that address: --webui {self.content.webui}. If not, name "
                "another file with --record.",
            )
        self.webui = webui

    def begin(self, host: HostKind, protect: Protect) -> None:
        """Call it before the first change, and again when an installation is continued."""
        entries, closed = (self.content.entries, self.content.closed) if self.content else ([], [])
        self.content = _Content(webui=self.webui, host=host, protect=protect, entries=entries, closed=closed)
        self._save()

    def note(self, place: KeptPlace, before: Any) -> None:
        """Before a change. The first value of a place is the one that counts."""
        entry = self._entry(place)
        if entry is None:
            self._entries.append(_KeptValue(place=named(place), before=before))
        else:
            entry.after = ""
        self._save()

    def is_open(self, place: KeptPlace) -> bool:
        """Whether a run ended before it said what the place holds."""
        entry = self._entry(place)
        return entry is not None and not entry.after

    def settle(self, place: KeptPlace, after: Any) -> None:
        """After a change: what the place holds."""
        entry = self._entry(place)
        if entry is not None:
            entry.after = digest(after)
            self._save()

    def changes(self) -> list[Change]:
        """The last first."""
        return [Change(place_of(entry.place), entry.before, entry.after) for entry in reversed(self._entries)]

    def forget(self, change: Change) -> None:
        """It was undone, or is left as it is. The file goes with its last entry."""
        self._entries[:] = [entry for entry in self._entries if entry.place != named(change.place)]
        if self._entries:
            self._save()
        else:
            self.remove()

    def close(self, place: KeptPlace, before: Any) -> None:
        """Before a connection is switched off for a while."""
        if self.content is not None:
            self.content.closed.append(_KeptValue(place=named(place), before=before))
            self._save()

    def closed(self) -> list[Change]:
        """Connections that are off for a while: for good, if the run that closed them was killed."""
        entries = self.content.closed if self.content else []
        return [Change(place_of(entry.place), entry.before, entry.after) for entry in entries]

    def opened(self) -> None:
        """After all of them are as before."""
        if self.content is not None and self.content.closed:
            self.content.closed = []
            self._save()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    @property
    def _entries(self) -> list[_KeptValue]:
        return self.content.entries if self.content else []

    def _entry(self, place: KeptPlace) -> _KeptValue | None:
        name = named(place)
        return next((entry for entry in self._entries if entry.place == name), None)

    def _save(self) -> None:
        if self.content is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = self.path.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(self.content.model_dump_json(indent=1), encoding="utf-8")
            new.replace(self.path)
        except OSError as error:
            raise RecordUnusable(
                f"The record {self.path} cannot be written: {error}", "Name another file with --record."
            ) from None


def _read(path: Path) -> _Content | None:
    try:
        content = _Content.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordUnusable(f"{path} cannot be read as a record: {error}", "Restore it, or move it away.") from None
    try:
        for entry in [*content.entries, *content.closed]:
            place_of(entry.place)
    except (LookupError, TypeError):
        raise RecordUnusable(
            f"{path} has changes that version {__version__} does not know.",
            "It is of a newer version: use that one, or a newer one still.",
        ) from None
    return content


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def default_path(webui: str) -> Path:
    """In the user's state folder, named after the address. Raises RecordUnusable."""
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    except RuntimeError:
        raise RecordUnusable(
            "This account has no home folder for the record of what was before.", "Name its file with --record."
        ) from None
    return state / "qwen3guard" / f"install-{urlsplit(webui).netloc.replace(':', '-')}.json"
