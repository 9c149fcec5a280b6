"""Moderation with Qwen3Guard: a conversation in, a verdict, a decision and a notice out. See docs/library.md.

Knows no host (Open WebUI), no engine (vLLM) and no GPU; `webui`, `pipelines` and `guard_server` build on it. The names
here are for programs outside of this project. They are imported when they are first used, since `openai` takes most of
a second to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.audit.audit import Audit
    from moderation.audit.audit_file import AuditFile
    from moderation.audit.audit_record import AuditRecord
    from moderation.audit.audit_sink import AuditSink
    from moderation.audit.audit_writer import AuditWriter
    from moderation.conversation import Conversation, Turn
    from moderation.endpoint.endpoint import Endpoint
    from moderation.errors import EndpointError
    from moderation.guard import Guard
    from moderation.notices.notice import NoticeKind, Notices
    from moderation.policy import Action, Decision, Policy
    from moderation.review import ChatReview, Message, Review
    from moderation.verdict import Category, Severity, Verdict

__all__ = [
    "Action",
    "Audit",
    "AuditFile",
    "AuditRecord",
    "AuditSink",
    "AuditWriter",
    "Category",
    "ChatReview",
    "Conversation",
    "Decision",
    "Endpoint",
    "EndpointError",
    "Guard",
    "Message",
    "NoticeKind",
    "Notices",
    "Policy",
    "Review",
    "Severity",
    "Turn",
    "Verdict",
]
_MODULES = {
    "audit.audit": ("Audit",),
    "audit.audit_file": ("AuditFile",),
    "audit.audit_record": ("AuditRecord",),
    "audit.audit_sink": ("AuditSink",),
    "audit.audit_writer": ("AuditWriter",),
    "conversation": ("Conversation", "Turn"),
    "endpoint.endpoint": ("Endpoint",),
    "errors": ("EndpointError",),
    "guard": ("Guard",),
    "notices.notice": ("NoticeKind", "Notices"),
    "policy": ("Action", "Decision", "Policy"),
    "review": ("ChatReview", "Message", "Review"),
    "verdict": ("Category", "Severity", "Verdict"),
}

if not TYPE_CHECKING:
    # A type checker that sees this would accept any name.
    def __getattr__(name: str) -> Any:
        for module, names in _MODULES.items():
            if name in names:
                globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
