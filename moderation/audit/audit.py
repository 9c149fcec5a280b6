"""The audit: sends a record of every decision to each of its sinks."""

import atexit

from moderation.audit.audit_record import AuditRecord, audit_entry
from moderation.audit.audit_sink import AuditSink
from moderation.policy import Decision
from moderation.probe import is_probe
from moderation.verdict import Verdict


class Audit:
    """Sends records to sinks. Each sink has a thread of its own, so that no caller ever waits for a disk.

    Args:
        sinks: where records go.
        keep_text: whether records hold the text of turns.
    """

    def __init__(self, *sinks: AuditSink, keep_text: bool = False) -> None:
        self._sinks = sinks
        self._keep_text = keep_text
        atexit.register(self.close)

    def record(
        self, record: AuditRecord, *, text: str = "", verdict: Verdict | None = None, decision: Decision | None = None
    ) -> None:
        """Add verdict, decision and the turn's text to `record`, and store it. Returns at once."""
        update: dict[str, object] = {"probe": True} if is_probe(text) else {}
        if verdict is not None:
            update |= verdict.model_dump(include={"severity", "categories", "probabilities", "problem", "reading"})
        if decision is not None:
            update |= decision.model_dump()
        entry = audit_entry(record.model_copy(update=update), text, keep_text=self._keep_text)
        for sink in self._sinks:
            sink.put(entry)

    def close(self) -> None:
        """Store all queued records. Later records are stored at once, in the caller's thread."""
        atexit.unregister(self.close)
        for sink in self._sinks:
            sink.close()
