"""The audit's record of one decision: who, what, why and when."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

# Maximum characters of a string from a client or a server, and maximum number of such strings in one field.
_MOST_OF_FIELD = {"problem": 2000, "text": 1_000_000}
_MOST_OF_OTHER_FIELDS = 256
_MOST_NAMES = 32


class AuditRecord(BaseModel):
    """One decision. A turn's text is identified by its hash, and included in full only if the admin wants it."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat())
    event: str = "decision"
    """`decision`; `setting` if a safe default replaced a setting; `lost` if records are missing."""
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
    """The action of the policy if it were enforced; differs from `action` in monitor mode."""
    problem: str | None = None
    reading: str | None = None
    """`visible` or `undone`: which of an obfuscated turn's two readings decided."""
    probe: bool | None = None
    """Whether the turn names itself a probe of the protection check, which anybody can write."""
    unjudged: tuple[str, ...] = ()
    """Parts that the guard cannot read, such as images."""
    milliseconds: float | None = None
    sha256: str | None = None
    text: str | None = None


class AuditEntry(NamedTuple):
    """A record on its way to the sinks."""

    values: Callable[[], dict[str, Any]]
    """Returns the record's fields as JSON values. To be called in the sink's thread: the hash of a long text takes
    milliseconds."""
    characters: int
    """Its approximate size in memory."""


def audit_entry(record: AuditRecord, text: str = "", *, keep_text: bool = False) -> AuditEntry:
    """The entry of a record. Strings from a client are cut after 256 characters, with "…" at the end.

    Args:
        record: all but the text.
        text: of the turn.
        keep_text: whether the entry holds the text itself, not only its hash.
    """
    fields = {
        name: _bounded_value(value, _MOST_OF_FIELD.get(name, _MOST_OF_OTHER_FIELDS))
        for name, value in record.model_dump(exclude_none=True).items()
    }
    return AuditEntry(lambda: _with_hash(fields, text, keep_text), len(text))


def lost_entry(count: int) -> AuditEntry:
    """The entry that says how many records a sink could not store."""
    problem = f"{count} records came faster than they could be written and are missing here"
    return audit_entry(AuditRecord(event="lost", problem=problem))


def _with_hash(fields: dict[str, Any], text: str, keep_text: bool) -> dict[str, Any]:
    if not text:
        return fields
    hashed = {"sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}
    return {**fields, **hashed, **({"text": _cut_field(text, _MOST_OF_FIELD["text"])} if keep_text else {})}


def _bounded_value(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return _cut_field(value, most)
    if isinstance(value, tuple):
        return [_cut_field(str(entry), most) for entry in value[:_MOST_NAMES]]
    return value


def _cut_field(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
