"""The system prompt of a model, as Open WebUI puts it before a conversation."""

from typing import Any, NamedTuple

from functions.host.host_modules import from_host
from webui.bodies import Body


class SystemPrompt(NamedTuple):
    """What is put before a conversation; empty if the model has no prompt."""

    text: str
    by_admin: bool
    """Whether the model belongs to an admin. Users may be allowed to make models, too."""


async def system_prompt_of(model: str, metadata: Body, user: Any) -> SystemPrompt:
    """The prompt with all variables filled in.

    Raises:
        HostChanged
    """
    record = await from_host("models.models", "Models").get_model_by_id(model)
    template = record.params.model_dump().get("system") if record else None
    if not template:
        return SystemPrompt("", False)
    text = await from_host("utils.payload", "resolve_system_prompt")(template, metadata, user)
    owner = await from_host("models.users", "Users").get_user_by_id(record.user_id)
    return SystemPrompt(str(text), owner is not None and owner.role == "admin")


def with_system(text: str, messages: list[Body]) -> list[Body]:
    """A conversation with `text` before it. Nothing is changed in place: the host sends `messages` in later rounds too.

    Raises:
        HostChanged
    """
    put = from_host("utils.misc", "add_or_update_system_message")
    return list(put(text, [dict(message) for message in messages])) if text else messages
