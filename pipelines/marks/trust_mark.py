"""The trust marker: what the guarded models' inlet knows of a request, and where the admin's own words end in it.

`pipe` sees no metadata, and one system text that holds the admin's words and the client's. Open WebUI 0.12.4 puts a
model's system prompt before what the inlet saw, and everything else after it (memories, skills, documents, tool
servers: its utils/middleware.py and routers/openai.py). So the inlet puts an anchor at the front: what precedes it
later was written by the host's admin. A request without a signed mark has no such words.
"""

import secrets
import time
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from pipelines.marks.signing import is_signed, sign
from webui.bodies import Body, messages_of, object_or_empty
from webui.request_context import RequestContext
from webui.system_texts import judged_part, values_given

MARK_KEY = "qwen3guard_mark"
# A chat may wait for a user's consent to a tool call; a mark that leaked is of no use for longer.
_VALID_SECONDS = 24 * 3600


class Mark(BaseModel):
    """What the inlet knew."""

    user: str = ""
    task: str | None = None
    """Open WebUI's own request that this is; None for a chat."""
    chat: str = ""
    message: str = ""
    on_page: bool = False
    """Whether the host shows the answer itself, so that it can take it back. Programs and tasks get it as it comes."""
    values: tuple[str, ...] = ()
    """What the client gave for the variables in the admin's prompt."""
    quoted: tuple[dict[str, Any], ...] = ()
    """The turns that a task's prompt quotes."""
    language: str | None = None
    """That the reader set, such as `de-DE`."""
    anchor: str = ""
    issued: float = Field(default_factory=time.time)


def put_mark(body: Body, user: dict[str, Any], *, by_admin: bool = True) -> None:
    """Mark a request on its way to a guarded model. Without a key that is secret there is no mark.

    Args:
        by_admin: whether only an admin can have written what will be put in front of its system text.
    """
    metadata, context = object_or_empty(body.get("metadata")), RequestContext.of_body(body, user)
    mark = Mark(
        user=context.user,
        task=context.task,
        chat=context.chat,
        message=context.message,
        on_page=bool(metadata.get("chat_id") and metadata.get("session_id")) and context.task is None,
        values=values_given(metadata, user),
        quoted=context.quoted,
        language=context.language,
        anchor=f"[{secrets.token_hex(16)}]" if by_admin else "",
    )
    data = mark.model_dump_json()
    signature = sign(data, "mark")
    # A client's own must not stay either.
    body.pop(MARK_KEY, None)
    if signature is None:
        return
    body[MARK_KEY] = {"data": data, "signature": signature}
    if mark.anchor:
        _set_anchor(messages_of(body), mark.anchor)


def take_mark(body: Body, user: str) -> Mark:
    """The mark of this request, taken off; an empty one if there is none, or if it is somebody else's."""
    entry = object_or_empty(body.pop(MARK_KEY, None))
    if not is_signed(entry.get("data"), entry.get("signature"), "mark"):
        return Mark()
    try:
        mark = Mark.model_validate_json(entry["data"])
    except ValidationError:
        return Mark()
    return mark if mark.user == user and time.time() - mark.issued < _VALID_SECONDS else Mark()


def split_system(text: str, mark: Mark) -> tuple[str, str]:
    """A system text without the anchor, and the part of it that must be judged."""
    if not mark.anchor or mark.anchor not in text:
        return text, text
    trusted, _, rest = text.partition(mark.anchor)
    rest = rest.removeprefix("\n").replace(mark.anchor, "")
    whole = trusted + rest if rest else trusted.removesuffix("\n")
    return whole, judged_part(trusted, rest, mark.values)


def _set_anchor(messages: list[Body], anchor: str) -> None:
    first = messages[0] if messages else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        first["content"] = f"{anchor}\n{first['content']}"
    elif first.get("role") != "system":
        messages.insert(0, {"role": "system", "content": anchor})
