"""One JSON line for every decision: who, what, why and when."""

import atexit
import hashlib
import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue

from pydantic import BaseModel, Field

from moderation.policy import Decision
from moderation.verdict import Verdict


class AuditRecord(BaseModel):
    """One decision. Text is named by its hash; it stands here in full only where the admin asked for it."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat())
    event: str = "decision"
    """`decision`, or `setting` for a setting that was replaced by its safe default."""
    chat: str | None = None
    message: str | None = None
    user: str | None = None
    model: str | None = None
    guard: str | None = None
    """The guard model's name."""
    direction: str | None = None
    """`prompt`, `response`, `history`, `tools` for their definitions, `task` for Open WebUI's own requests."""
    severity: str | None = None
    categories: tuple[str, ...] = ()
    probabilities: dict[str, float] | None = None
    action: str | None = None
    flagged: str | None = None
    """What would have been done if enforced; differs from `action` in monitor mode."""
    problem: str | None = None
    reading: str | None = None
    """`visible` or `undone`: which of a disguised turn's two readings decided."""
    unjudged: tuple[str, ...] = ()
    """Parts that the guard cannot read, such as images."""
    milliseconds: float | None = None
    sha256: str | None = None
    text: str | None = None


class Audit:
    """Writes records to a file a day, from a thread of its own, so that no caller ever waits for a disk.

    `path` "audit.jsonl" gives "audit-2026-11-21.jsonl" (UTC). Nothing is renamed or deleted, so several processes may
    share a path. A record that cannot be written to its file goes to standard error instead.

    Args:
        path: names the files; their folder is made if need be.
        keep_text: whether records hold the text of turns.
    """

    def __init__(self, path: Path, *, keep_text: bool = False) -> None:
        self._keep_text = keep_text
        self._file = _DailyFile(path)
        queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
        self._handler = QueueHandler(queue)
        self._listener: QueueListener | None = QueueListener(queue, self._file)
        self._listener.start()
        atexit.register(self.close)

    def record(
        self, record: AuditRecord, *, text: str = "", verdict: Verdict | None = None, decision: Decision | None = None
    ) -> None:
        """Add what the verdict, the decision and the turn's text tell to `record`, and write it. Returns at once."""
        update: dict[str, object] = {}
        if text:
            update["sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            update["text"] = text if self._keep_text else None
        if verdict is not None:
            update |= verdict.model_dump(include={"severity", "categories", "probabilities", "problem", "reading"})
        if decision is not None:
            update |= decision.model_dump()
        # Not pydantic's JSON, which fails on the broken surrogates that a client may send.
        line = json.dumps(record.model_copy(update=update).model_dump(exclude_none=True), ensure_ascii=False)
        entry = logging.LogRecord("audit", logging.INFO, "", 0, line, None, None)
        (self._handler if self._listener else self._file).handle(entry)

    def close(self) -> None:
        """Write what is queued. Records that still come are written at once, by their caller."""
        listener, self._listener = self._listener, None
        if listener:
            atexit.unregister(self.close)
            listener.stop()


class _DailyFile(logging.Handler):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage() + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            today = self._path.with_stem(f"{self._path.stem}-{datetime.now(UTC):%Y-%m-%d}")
            # Unbuffered and in append mode: a line is one write, which other processes' lines cannot split.
            with today.open("ab", buffering=0) as file:
                file.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            print(f"audit: {self._path} cannot be written ({error}); the record: {line}", end="", file=sys.stderr)
