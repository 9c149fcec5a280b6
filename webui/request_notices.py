"""What the reader of one request's answer gets to read from us."""

from moderation.notices.notice import NoticeKind
from moderation.review import Review
from webui.bodies import neutral_answer
from webui.moderator import Moderator
from webui.request_context import RequestContext


class RequestNotices:
    """Words the notices of one request.

    Args:
        moderator: knows the admin's settings.
        context: of the request.
        continues: whether the request ends with the beginning of its answer, to which the host adds what it gets.
    """

    def __init__(self, moderator: Moderator, context: RequestContext, *, continues: bool) -> None:
        self._moderator = moderator
        self._task = context.task
        self._language = context.language
        self._role = context.role
        self._continues = continues

    @property
    def finish_reason(self) -> str:
        """Of an answer that is a notice: Open WebUI must accept the neutral answer to its own task as an answer."""
        return "stop" if self._task else "content_filter"

    def refused(self, review: Review, text: str) -> str:
        """In place of an answer to the prompt `text`, which may not be answered."""
        return self._placed(self._moderator.notice(review, text, NoticeKind.PROMPT_REFUSED, self._language, self._role))

    def withheld(self, review: Review, text: str) -> str:
        """In place of the answer `text`."""
        return self._placed(
            self._moderator.notice(review, text, NoticeKind.ANSWER_WITHHELD, self._language, self._role)
        )

    def unchecked(self, text: str) -> str:
        """In place of the answer `text`, whose rest could not be judged."""
        return self._placed(self._moderator.notices.text(NoticeKind.NOT_CHECKED, text, reader_language=self._language))

    def preface(self, prompt: str) -> str:
        """Before an answer to `prompt` that was made without some earlier turns; empty for a task."""
        if self._task:
            return ""
        note = self._moderator.notices.text(NoticeKind.SOME_UNCHECKED, prompt, reader_language=self._language)
        return self._placed(f"[{note}]\n\n")

    def _placed(self, notice: str) -> str:
        if self._task:
            return neutral_answer(self._task, notice)
        return f"\n\n{notice}" if self._continues else notice
