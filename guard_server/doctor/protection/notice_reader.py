"""What a reply says of the path that it came on: our plugins answer with notices."""

from collections.abc import Iterable
from enum import StrEnum

from guard_server.open_webui.chat_replies import Reply
from moderation.notices.notice import NoticeKind, Notices
from moderation.probe import ADMINS_ONLY, PROBE_ANSWER


class Meaning(StrEnum):
    """What a reply says of its path."""

    ANSWERED = "answered"
    UNJUDGED_ANSWER = "unjudged answer"
    """It holds the test answer, which no plugin of ours lets pass."""
    PROMPT_REFUSED = "prompt refused"
    ANSWER_WITHHELD = "answer withheld"
    NO_VERDICT = "no verdict"
    NO_ACCESS = "no access"
    ERROR = "error"


class NoticeReader:
    """Recognises notices, the admin's own included.

    Args:
        texts: the admin's own texts, by the kinds of the notices.
    """

    def __init__(self, texts: Iterable[tuple[NoticeKind, str]]) -> None:
        self._own = list(texts)
        self._known = Notices()

    def meaning(self, reply: Reply) -> Meaning:
        if PROBE_ANSWER in reply.text:
            return Meaning.UNJUDGED_ANSWER
        if self._says(reply, NoticeKind.NOT_CHECKED):
            return Meaning.NO_VERDICT
        # An admin may have one text for both: then a harmless prompt passed, for all that can be seen.
        if self._says(reply, NoticeKind.ANSWER_WITHHELD):
            return Meaning.ANSWER_WITHHELD
        if self._says(reply, NoticeKind.PROMPT_REFUSED):
            return Meaning.PROMPT_REFUSED
        if not reply.is_error:
            # Of an empty answer nothing can be said.
            return Meaning.ANSWERED if reply.text.strip() else Meaning.ERROR
        denied = reply.status in (401, 403, 404) or "not found" in reply.text.lower()
        return Meaning.NO_ACCESS if denied else Meaning.ERROR

    def _says(self, reply: Reply, kind: NoticeKind) -> bool:
        own = [words for its, words in self._own if its is kind]
        text = reply.text.partition(ADMINS_ONLY)[0].strip()
        # An answer that was cut off ends with its notice, in a paragraph of its own.
        said = (text, text.rpartition("\n\n")[2])
        return any(self._known.recognises(one, (kind,)) or one.startswith(tuple(own)) for one in said)
