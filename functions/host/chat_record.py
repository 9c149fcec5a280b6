"""Messages as Open WebUI stores them."""

from functions.host.host_modules import from_host
from webui.bodies import Body


async def store(chat: str, message: str, changes: Body) -> bool:
    """Change fields of a stored message, without a copy of what was there. False for a chat that is not stored.

    Raises:
        HostChanged
    """
    if not message or not from_host("utils.chat_id", "is_saved_chat_id")(chat):
        return False
    chats = from_host("models.chats", "Chats")
    return await chats.upsert_message_to_chat_by_id_and_message_id(chat, message, changes) is not None
