"""The sink that writes audit entries to a file, in a thread, so that no caller waits for a disk."""

import json
import logging
import re
import sys
import threading
from collections import deque
from typing import Any

from moderation.audit.audit_file import AuditFile
from moderation.audit.audit_record import AuditEntry, lost_entry

_MOST_WAITING_ENTRIES = 10_000
_MOST_WAITING_CHARACTERS = 64 * 2**20
"""Of all entries that wait. An entry of any size fits if no other waits."""
_CLOSE_SECONDS = 10
# Characters that some readers treat as the end of a line (NEL, U+2028, U+2029; JSON escapes those below U+0020),
# control characters of terminals, those that change the direction of text, and those that UTF-8 cannot encode.
_UNSAFE_IN_A_LINE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# A regular expression blocks other threads while it runs.
_ESCAPED_AT_A_TIME = 2**16
_audit_log = logging.getLogger("qwen3guard")


class AuditWriter:
    """Writes entries in order, each as one line of JSON. Continues after all errors, and logs them.

    Entries that cannot be written to the file go to standard error. If more than 10,000 entries or 64 Mi characters
    wait, further ones are dropped and counted: the number goes to the log and, as an entry of its own, to the file.

    Args:
        file: takes the lines.
    """

    def __init__(self, file: AuditFile) -> None:
        self._file = file
        # Quoted, since a name may have characters that cannot be logged.
        self._name = repr(str(file.path))
        self._changed = threading.Condition()
        self._waiting: deque[AuditEntry] = deque()
        self._characters = 0
        self._lost = 0
        self._closed = False
        self._misfiled = 0
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, entry: AuditEntry) -> None:
        """Write `entry` soon; after `close` at once, in the caller's thread. Never raises."""
        with self._changed:
            if not self._closed:
                full = (
                    self._characters + entry.characters > _MOST_WAITING_CHARACTERS
                    or len(self._waiting) >= _MOST_WAITING_ENTRIES
                )
                if full and self._waiting:
                    self._lost += 1
                    return
                self._waiting.append(entry)
                self._characters += entry.characters
                self._changed.notify()
                return
        self._write(entry)

    def close(self) -> None:
        """Write all waiting entries, in ten seconds at most. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            _audit_log.error("audit: %s takes too long, %d records are not written", self._name, self._left())

    def _left(self) -> int:
        with self._changed:
            return len(self._waiting) + self._lost

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._lost or self._closed):
                    self._changed.wait()
                lost, self._lost = self._lost, 0
                entry = self._waiting.popleft() if self._waiting else None
                self._characters -= entry.characters if entry else 0
                if entry is None and not lost:
                    return
            if entry is not None:
                self._write(entry)
            if lost:
                _audit_log.error("audit: %d records came faster than they could be written and are lost", lost)
                self._write(lost_entry(lost))

    def _write(self, entry: AuditEntry) -> None:
        try:
            line = _audit_line(entry.values())
        except Exception:
            _audit_log.exception("audit: a record could not be put into words: this is a bug")
            return
        try:
            self._file.append(line.encode("utf-8", "backslashreplace"))
        except Exception as error:
            self._misfiled += 1
            if self._misfiled == 1:
                _audit_log.exception(
                    "audit: %s cannot be written: records go to standard error; set audit_path to a file that can",
                    self._name,
                )
            self._print(line, error)
            return
        if self._misfiled:
            _audit_log.warning(
                "audit: %s can be written again; %d records went to standard error", self._name, self._misfiled
            )
            self._misfiled = 0

    def _print(self, line: str, error: Exception) -> None:
        try:
            print(f"audit: {self._name} cannot be written ({error}); the record: {line}", file=sys.stderr)
        except Exception:
            _audit_log.exception("audit: a record is lost, since standard error cannot be written either")


def _audit_line(fields: dict[str, Any]) -> str:
    # Not pydantic's JSON, which fails on the broken surrogates that a client may send.
    line = json.dumps(fields, ensure_ascii=False)
    parts = [line[start : start + _ESCAPED_AT_A_TIME] for start in range(0, len(line), _ESCAPED_AT_A_TIME)]
    return "".join(_UNSAFE_IN_A_LINE.sub(_escaped_character, part) for part in parts)


def _escaped_character(found: re.Match[str]) -> str:
    # Half a character, which a client may send: jq and others read no further after the escape of one.
    code = 0xFFFD if 0xD800 <= ord(found[0]) <= 0xDFFF else ord(found[0])
    return f"\\u{code:04x}"
