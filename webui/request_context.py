"""What a host knows of a request besides its messages: who asks, for what, and what of it the admin wrote."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from moderation.audit.audit_record import AuditRecord
from webui.bodies import Body, object_or_empty, reader_language, task_of
from webui.task_prompt import quoted_by_task


def all_is_judged(text: str) -> tuple[str, str]:
    """A system text of which nobody can say what the admin wrote."""
    return text, text


class RequestContext(NamedTuple):
    """The facts of one request, or of the stored chat that its answer belongs to."""

    user: str = ""
    """The id of the user who asks; empty if it is not known."""
    role: str = ""
    """That user's role in Open WebUI."""
    model: str = ""
    """The model that is asked, by the name for the audit."""
    chat: str = ""
    message: str = ""
    """The id of the answer that is asked for."""
    task: str | None = None
    """Open WebUI's own request that this is, such as `title_generation`; None for a chat."""
    quoted: tuple[Body, ...] = ()
    """The turns that a task's prompt quotes."""
    language: str | None = None
    """That the reader set, such as `de-DE`."""
    split_system: Callable[[str], tuple[str, str]] = all_is_judged
    """Gives of a system text what may be sent, and the part of it that must be judged."""
    reviewed: bool = False
    """Whether the host reviewed this request before, when it held less: what passed then is not recorded again."""
    host_is_next: bool = False
    """Whether Open WebUI itself gets the request next: then its own fields are not judged."""

    @classmethod
    def of_body(cls, body: Body, user: dict[str, Any]) -> Self:
        """What the body of a filter's inlet or outlet says. Never raises."""
        # The server writes this one, the client the body.
        metadata = object_or_empty(body.get("metadata"))
        message = metadata.get("message_id") or body.get("id") or body.get("message_id")
        return cls(
            user=str(user.get("id") or ""),
            role=str(user.get("role") or ""),
            model=str(body.get("model") or ""),
            chat=str(metadata.get("chat_id") or body.get("chat_id") or ""),
            message=str(message or ""),
            task=task_of(body),
            quoted=tuple(quoted_by_task(body)),
            language=reader_language(body),
            host_is_next=True,
        )

    def direction(self, in_chat: str) -> str:
        """The direction of a turn for the audit: `in_chat`, or `task` for all turns of a task."""
        return "task" if self.task else in_chat

    def head(self, direction: str, message: str = "") -> AuditRecord:
        """A record's beginning: who, what and where.

        Args:
            direction: see `AuditRecord`.
            message: the id of the message that it is about, if it is not the answer that is asked for.
        """
        return AuditRecord(
            direction=direction,
            user=self.user or None,
            model=self.model or None,
            chat=self.chat or None,
            message=message or self.message or None,
        )
