"""Which model says a notice to a user: the refusal model if this user can read it, else the model that was asked.

Open WebUI answers "Model not found" for a model that is not there, or that a user may not read, and informs no
pipeline. So the refusal model notes whom it answered, and the filter compares that with whom it sent there. The notes
are the times of files: the two are different plugins, and may run in different workers.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.upstreams.model_ids import REFUSAL_ENTRY
from webui.request_context import RequestContext
from webui.settings import LenientValves

# A request that was not answered for this long did not get there.
_ANSWER_SECONDS = 10
# File times may be this much older than the clock.
_CLOCK_SECONDS = 0.1
# Ids have 36 characters. Of a longer one only so much is read, since a filter does this on the event loop.
_LONGEST_OWNER = 256


class _EntryValves(LenientValves):
    """The valve of the guarded models that offers their refusal entry."""

    refusal_entry: bool = False


class _Note:
    """When the refusal model was asked for somebody, and when it answered. So many files at most, whoever asks."""

    def __init__(self, folder: Path, name: str) -> None:
        place = hashlib.sha256(name[:_LONGEST_OWNER].encode("utf-8", "surrogatepass")).hexdigest()[:3]
        self._asked, self._answered = folder / f"asked-{place}", folder / f"answered-{place}"

    def works(self, since: float) -> bool | None:
        """Whether the last request was answered; None if nobody knows. A silence before `since` is forgotten."""
        asked, answered = _time_of(self._asked), _time_of(self._answered)
        is_silent = asked > answered and time.time() - asked > _ANSWER_SECONDS
        if is_silent and asked > since - _CLOCK_SECONDS:
            return False
        return True if answered else None

    def ask(self) -> None:
        """Note a request, unless an earlier one still waits for its answer."""
        asked = _time_of(self._asked)
        if asked <= _time_of(self._answered) or time.time() - asked > _ANSWER_SECONDS:
            _touch(self._asked)

    def answer(self) -> None:
        _touch(self._answered)


class RefusalRoute:
    """Chooses the model, by what the refusal model has noted.

    Args:
        folder: of the Pipelines server's files.
        model: the refusal model's id; None for no such model.
        report: informs the admin.
    """

    def __init__(self, folder: Path, model: str | None, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._model = model
        self._report = report
        self._reported = False
        self._since = time.time()
        self._plugin, _, self._entry = (model or "").partition(".")
        if model is not None and not self._is_offered():
            report(
                f"refusal_model: this Pipelines server has no {model!r}, so chat models are asked to say notices; "
                "upload qwen3guard_refusal.py, and name qwen3guard_refusal here"
            )

    def model_for(self, context: RequestContext) -> str | None:
        """The model that says a notice in reply to this request; None if it is the one that was asked."""
        if self._model is None or not self._is_offered():
            return None
        notes = _notes_for(self._folder / self._plugin, context.user, context.role)
        found = [note.works(self._since) for note in notes]
        # What is known of the user counts more than what is known of the role.
        works = next((one for one in found if one is not None), None)
        if context.task:
            # A title that nobody answers would be the refused prompt itself.
            return self._model if works else None
        if works is False:
            self._report_unreadable()
            return None
        for note in notes:
            note.ask()
        return self._model

    def _is_offered(self) -> bool:
        if not (self._folder / f"{self._plugin}.py").is_file():
            return False
        return not self._entry or (self._entry == REFUSAL_ENTRY and self._has_entry())

    def _has_entry(self) -> bool:
        try:
            saved = json.loads((self._folder / self._plugin / "valves.json").read_text())
        except (OSError, ValueError):
            saved = {}
        return _EntryValves(**(saved if isinstance(saved, dict) else {})).refusal_entry

    def _report_unreadable(self) -> None:
        if not self._reported:
            self._reported = True
            self._report(
                f"refusal_model: {self._model!r} does not answer all users, so their chat models are asked to say "
                "notices; make it public and leave it on (Admin Panel → Settings → Models), then save the valves again"
            )


def note_answer(home: Path, user: object) -> None:
    """Note that the refusal model answers this user.

    Args:
        home: the folder of the plugin that offers the refusal model.
        user: as Open WebUI sends it to a pipe.
    """
    fields = user if isinstance(user, dict) else {}
    for note in _notes_for(home, str(fields.get("id") or ""), str(fields.get("role") or "")):
        note.answer()


def _notes_for(home: Path, user: str, role: str) -> list[_Note]:
    return [_Note(home / "notices", f"user {user}"), _Note(home / "notices", f"role {role}")]


def _time_of(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0


def _touch(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError:
        # Without notes, users are served as if nobody knew whether the refusal model answers.
        return
