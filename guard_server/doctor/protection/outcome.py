"""What two replies say of a path: one to an unsafe prompt, one to a harmless prompt that asks for the test answer."""

from typing import NamedTuple

from guard_server.doctor.examination import Level
from guard_server.doctor.protection.notice_reader import Meaning
from guard_server.doctor.protection.protection_report import PathState
from guard_server.doctor.protection.routes import Route
from guard_server.open_webui.chat_replies import Reply

_PROMPTS = "Nothing judged this prompt: see the settings above, or run: qwen3guard install"
_ANSWERS = "The filter cannot change what is sent here: offer guarded models, or use the filter as a Function."
_NO_GUARD = "Run where the plugins run: qwen3guard doctor --guard-url ADDRESS, with the address in the plugin's valves."
_STRICT = "See the plugins' valves strictness and block_threshold, and: qwen3guard doctor --guard-url ADDRESS"
_BROKEN = "Nobody gets an answer here. See the logs of Open WebUI and of the model's server."
_SEEN_BY_HAND = "Ask this model for an answer that must be withheld, or check its plugin with another model."
# What an ordinary user cannot do without.
_NEEDED = ("chat page", "API, streamed")


class Said(NamedTuple):
    reply: Reply
    meaning: Meaning


class Outcome(NamedTuple):
    state: PathState
    level: Level
    why: str
    remedy: str | None = None


_WITHHELD = (Meaning.PROMPT_REFUSED, Meaning.ANSWER_WITHHELD)


def outcome(route: Route, unsafe: Said, harmless: Said, *, offered: bool, cause: str = "") -> Outcome:
    """The outcome.

    Args:
        offered: ordinary users are meant to use the model.
        cause: what the plugin says to an admin of a missing verdict.
    """
    if unsafe.meaning in (Meaning.ANSWERED, Meaning.UNJUDGED_ANSWER):
        return Outcome(PathState.OPEN, Level.FAILURE, "an unsafe prompt was answered", route.remedy or _PROMPTS)
    if harmless.meaning is Meaning.UNJUDGED_ANSWER:
        why = "an answer that no plugin judged was sent on"
        return Outcome(PathState.OPEN, Level.FAILURE, why, route.remedy or _ANSWERS)
    if harmless.meaning is Meaning.NO_VERDICT:
        why = f"the plugin gets no verdict: {cause}" if cause else "the plugin gets no verdict from the guard"
        return Outcome(PathState.CLOSED, Level.FAILURE, why, _NO_GUARD)
    if harmless.meaning is Meaning.NO_ACCESS and not offered:
        return Outcome(PathState.CLOSED, Level.OK, "users may not use it")
    if harmless.meaning in (Meaning.ERROR, Meaning.NO_ACCESS):
        words = harmless.reply.words or _no_words(harmless.reply)
        if offered and route.name in _NEEDED:
            return Outcome(PathState.CLOSED, Level.FAILURE, f"the answer is: {words}", _BROKEN)
        return Outcome(PathState.CLOSED, Level.OK, f"the answer is: {words}")
    if harmless.meaning is Meaning.PROMPT_REFUSED:
        return Outcome(PathState.CLOSED, Level.FAILURE, "a harmless prompt was refused", _STRICT)
    if unsafe.meaning not in _WITHHELD:
        words = unsafe.reply.words or _no_words(unsafe.reply)
        return Outcome(PathState.NOT_SEEN, Level.WARNING, f"the answer to an unsafe prompt is: {words}", _BROKEN)
    if route.is_task:
        return Outcome(PathState.PROTECTED, Level.OK, "no model was asked about an unsafe prompt")
    if harmless.meaning is Meaning.ANSWERED:
        return Outcome(PathState.NOT_SEEN, Level.WARNING, "the model did not say the test answer", _SEEN_BY_HAND)
    return Outcome(PathState.PROTECTED, Level.OK, "an unsafe prompt was refused, and the test answer withheld")


def _no_words(reply: Reply) -> str:
    return f"status {reply.status}" if reply.is_error else "empty"
