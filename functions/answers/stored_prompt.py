"""A refused prompt as it is stored: Open WebUI stores it before any hook sees it."""

from functions.answers.answer_state import AnswerState
from functions.host.chat_record import store
from functions.host.host_modules import HostChanged
from webui.log import log
from webui.messages import reading
from webui.request_review import RequestRefused


async def replace_prompt(state: AnswerState, prompt: object, refused: RequestRefused) -> None:
    """Let the stored prompt say that it was refused. What could not be judged stays: nothing may be lost for that.

    Args:
        state: of the answer that there is not.
        prompt: the id of the user's message.
        refused: why there is none.
    """
    message = refused.message
    if message is None or message.get("role") != "user" or not refused.review.is_refused:
        return
    notice = state.moderator.notices.removed("user", reading(message).text, state.context.language)
    try:
        await store(state.context.chat, str(prompt or ""), {"content": notice, "files": []})
    except HostChanged as error:
        log.warning("%s: a refused prompt stays in the record", error)
