"""What Open WebUI's own requests quote of a chat: titles, tags, follow-ups, merged answers and the like.

Their prompt is a page of instructions around a few turns (its routers/tasks.py, utils/task.py, config.py). The turns
are judged as turns, and of the prompt what neither they nor Open WebUI's own instructions say. A client cannot say that
its request is a task, but it chooses what the route of a task quotes.
"""

import hashlib
import re
from collections.abc import Sequence

from webui.bodies import Body, object_or_empty, objects_in, task_of
from webui.json_text import find, is_sentence, without_media
from webui.task_templates import KNOWN_PIECES

# What a template puts around a quoted text, and lines.
_EDGE = re.compile(r"[\n\"]+|<[^<>\n]{0,40}>|: ")
_EDGES = " \t\r\n.,;:!?*-#'`{}()[]"
# Labels that a template's variables give: no words.
_ROLE_LABELS = frozenset(("USER", "ASSISTANT", "SYSTEM", "TOOL", "General", "general", "Search Query", "search query"))
_LONGEST_PIECE = 2000
_TURNS = ("messages", "prompt", "responses")


def quoted_by_task(body: Body) -> list[Body]:
    """The turns that a task's prompt quotes, and what else its client sent; none for a chat."""
    task_body = object_or_empty(object_or_empty(body.get("metadata")).get("task_body")) if task_of(body) else {}
    if not task_body:
        return []
    responses = task_body.get("responses")
    answers = [
        {"role": "assistant", "content": answer} for answer in (responses if isinstance(responses, list) else [])
    ]
    further = {key: value for key, value in task_body.items() if key not in _TURNS}
    sentences_sent = [text for text in find(further).texts if is_sentence(text)]
    more = [{"role": "user", "content": "\n".join(sentences_sent)}] if sentences_sent else []
    # Open WebUI quotes only these of a turn, whatever else the page sends of it.
    turns = [
        {"role": turn.get("role"), "content": turn.get("content")} for turn in objects_in(task_body.get("messages"))
    ]
    return [*turns, {"role": "user", "content": task_body.get("prompt")}, *answers, *more]


def without_quotes(messages: list[Body], quoted: Sequence[str]) -> list[Body]:
    """A task's messages as they are judged: without the turns that they quote and Open WebUI's own instructions.

    A chat, which quotes nothing, stays as it is.

    Args:
        messages: of the request.
        quoted: the text of each turn that is quoted.
    """
    if not quoted:
        return messages
    known = {piece for text in quoted for piece in pieces(text)}
    return [_without(message, known) for message in messages]


def pieces(text: str) -> list[str]:
    """A text, cut wherever a template may have put a quoted one in."""
    cut = (piece.strip(_EDGES) for piece in _EDGE.split(text))
    return [piece for piece in cut if piece]


def digest_of(piece: str) -> str:
    """A digest that identifies a piece of Open WebUI's instructions without a copy of it."""
    return hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _without(message: Body, known: set[str]) -> Body:
    content = message.get("content")
    if not isinstance(content, str):
        return message
    left = [piece for piece in pieces(without_media(content)[0]) if piece not in known and not _is_own(piece)]
    return {**message, "content": "\n".join(left)}


def _is_own(piece: str) -> bool:
    return (
        piece in _ROLE_LABELS
        or not any(map(str.isalpha, piece))
        or (len(piece) < _LONGEST_PIECE and digest_of(piece) in KNOWN_PIECES)
    )
