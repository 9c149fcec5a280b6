"""The protocol of the targets of audit records, such as a file, or a host's store."""

from typing import Protocol

from moderation.audit.audit_record import AuditEntry


class AuditSink(Protocol):
    """Stores entries in order. If an entry cannot be stored, this must be reported."""

    def put(self, entry: AuditEntry) -> None:
        """Store `entry` soon. Returns at once while the sink is open; after `close`, stores it before it returns.

        Never raises.
        """

    def close(self) -> None:
        """Store all waiting entries, in bounded time. May be called again."""
