"""What Open WebUI still does for chats: an answer, its outlet, and tags and follow-ups after it."""

from demo.webui_client.webui_api import WebuiApi
from tests.stands.waiting import wait_until


def wait_for_tasks(admin: WebuiApi) -> None:
    """Until nothing of that is in progress, so that it sends no request into the next test.

    Only the first title of a chat is in no list: Open WebUI makes it apart.
    """
    wait_until(lambda: not admin.get("/api/tasks")["tasks"])
