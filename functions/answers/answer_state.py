"""What the filter knows of one answer from hook to hook, kept with Open WebUI's request."""

from typing import Any

from functions.answers.guarded_stream import GuardedStream
from functions.answers.shown_events import StreamTerms
from functions.filter_valves import FunctionFilterValves
from functions.host.own_version import own_version
from webui.guarded.host_version import can_retract
from webui.moderator import Moderator
from webui.request_context import RequestContext
from webui.request_notices import RequestNotices

_ANSWERS = "qwen3guard_answers"


class AnswerState:
    """One answer.

    Args:
        valves: the settings that held when it was asked for; they hold until it is complete.
        moderator: of these settings.
        context: what is known of its request.
        on_page: whether a page reads it.
    """

    def __init__(
        self, valves: FunctionFilterValves, moderator: Moderator, context: RequestContext, *, on_page: bool
    ) -> None:
        self.valves = valves
        self.moderator = moderator
        self.context = context
        self.on_page = on_page
        self.exempt = moderator.exempts(context.role)
        """Whether nobody judges it."""
        self.model = context.model
        """The model that is to answer."""
        self.by_models = False
        """Whether the guarded models' function makes it, and judges it."""
        self.is_sent_through = False
        """Whether the filter sends its request there."""
        notices = RequestNotices(moderator, context, continues=False)
        self.stream = GuardedStream(moderator, context, notices, StreamTerms([]))
        """The answer to the newest call of the model; tools may make several."""

    @property
    def is_enforced(self) -> bool:
        """Whether anything may be refused for it."""
        return not self.exempt and self.moderator.policy.mode == "enforce"

    def terms(self) -> StreamTerms:
        """How the answer is shown, whatever the conversation before it is."""
        retracts = self.on_page and can_retract(own_version())
        hold = self.valves.stream_mode == "hold" or not retracts
        # A channel waits for ever for the end of an answer that is stopped.
        stops = self.on_page and not str(self.context.chat or "").startswith("channel:")
        return StreamTerms([], hold=hold, retracts=retracts, on_page=stops)


def answer_of(request: Any, message: object) -> AnswerState | None:
    """The state of an answer; None if there is none yet.

    Args:
        request: Open WebUI's. Several models may share one.
        message: the id of the answer; None for a program's.
    """
    found: AnswerState | None = getattr(request.state, _ANSWERS, {}).get(message or "")
    return found


def keep_answer(request: Any, message: object, state: AnswerState) -> None:
    """Let the next hooks find the state."""
    if not hasattr(request.state, _ANSWERS):
        setattr(request.state, _ANSWERS, {})
    getattr(request.state, _ANSWERS)[message or ""] = state
