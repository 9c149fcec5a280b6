"""A chat as it is stored when its newest answer is complete: what may not stay is replaced, without a copy of it.

What a hook returns, Open WebUI stores next to the text that was there before, where the user could fetch it. So the
record and the page are changed here, and the host finds nothing to change.
"""

import copy

from functions.answers.answer_state import AnswerState
from functions.host.chat_record import store
from functions.host.host_modules import HostChanged
from functions.host.page_events import Emitter, show_output
from webui.bodies import Body, messages_of, object_or_empty, objects_in, output_item
from webui.log import log
from webui.stored_chat import StoredChatReview, StoredChatTerms


async def review_stored(body: Body, state: AnswerState, emit: Emitter | None) -> Body:
    """Review the chat of an outlet's `body`, with the answer of `state` at its end. Gives what the host is to store."""
    rest = await state.stream.rest()
    messages = messages_of(body)
    before = copy.deepcopy(messages)
    ids = [message.get("id") for message in messages]
    newest = ids.index(body.get("id")) if body.get("id") in ids else len(messages) - 1
    if messages and rest:
        _add(messages[newest], rest)
    terms = StoredChatTerms(rewrite_prompts=state.valves.rewrite_history, recorded=state.stream.ended, unchecked=False)
    await StoredChatReview(state.moderator, messages, newest, state.context, terms).review()
    changed = [place for place, message in enumerate(messages) if message != before[place]]
    stored = True
    try:
        for place in changed:
            message = messages[place]
            stored &= await store(state.context.chat, str(message.get("id") or ""), _changes(message))
        if emit is not None and newest in changed:
            await show_output(emit, _output(messages[newest]))
    except HostChanged as error:
        log.warning("%s: what was refused stays in the record as originalContent", error)
        return body
    # A temporary chat is kept by its page, which gets the messages from the host.
    return {**body, "messages": []} if changed and stored else body


def _changes(message: Body) -> Body:
    changes: Body = {"content": message.get("content")}
    if message.get("role") == "assistant":
        changes["output"] = _output(message)
        changes |= {"sources": []} if message.get("sources") == [] else {}
    else:
        changes["files"] = []
    return changes


def _output(message: Body) -> list[Body]:
    found = list(objects_in(message.get("output")))
    return found or [output_item(message.get("id"), str(message.get("content") or ""))]


def _add(message: Body, event: Body) -> None:
    """Let a stored answer end with what the last event says."""
    text = "".join(str(object_or_empty(choice.get("delta")).get("content") or "") for choice in event["choices"])
    if not text:
        return
    output = list(objects_in(message.get("output")))
    if output and output[-1].get("type") == "message" and output[-1].get("content"):
        part = output[-1]["content"][-1]
        part["text"] = f"{part.get('text') or ''}{text}"
    else:
        output.append(output_item(message.get("id"), text))
    message["content"] = f"{message.get('content') or ''}{text}"
    message["output"] = output
