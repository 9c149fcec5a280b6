"""Messages as Open WebUI stores them."""

from functions.host.host_modules import from_host
from webui.bodies import Body


async def store(chat: str, message: str, changes: Body) -> None:
    """Change fields of a stored message, without a copy of what was there. Chats that are not stored are left alone.

    Raises:
        HostChanged
    """
    if chat and message and from_host("utils.chat_id", "is_saved_chat_id")(chat):
        chats = from_host("models.chats", "Chats")
        await chats.upsert_message_to_chat_by_id_and_message_id(chat, message, changes)
