"""Running files are replaced by uploads while users chat: nothing unsafe passes meanwhile."""

import threading
from collections.abc import Iterator

import pytest

from demo.stack.stack import SAFE_PROMPT, UNSAFE_PROMPT, Stack
from demo.webui_client.host import FILTER
from demo.webui_client.visitor import Seen, Visitor
from tests.e2e.stored_chat import holds
from tests.e2e.texts import BOMB, EN, SAFE_ANSWER
from tests.stands.uploads import plugins, watched

PLACE = "1"
"""Index of the Pipelines server among the connections of a stack with direct models."""


class Uploads:
    """Uploads through Open WebUI, like those of the admin's page."""

    def __init__(self, stack: Stack) -> None:
        self._admin = stack.admin
        self.url = stack.pipelines.url

    def all(self) -> None:
        for file in plugins():
            self._admin.upload("/api/v1/pipelines/upload", {"urlIdx": PLACE}, file.name, file.read_bytes())

    def drop(self, name: str) -> None:
        body = {"id": name, "urlIdx": int(PLACE)}
        self._admin.http.request("DELETE", "/api/v1/pipelines/delete", json=body).raise_for_status()


@pytest.fixture
def uploads(stack: Stack) -> Iterator[Uploads]:
    """A stack in which all files run already."""
    uploads = Uploads(stack)
    uploads.all()
    yield uploads
    for file in plugins():
        if file not in stack.host.files(stack.protection):
            uploads.drop(file.stem)


def test_an_unsafe_prompt_is_refused_while_all_files_are_uploaded(
    stack: Stack, visitor: Visitor, uploads: Uploads
) -> None:
    seen: list[Seen] = []
    with watched(uploads.url) as silences:
        uploading = threading.Thread(target=uploads.all)
        uploading.start()
        while uploading.is_alive() or not seen:
            seen.append(visitor.ask(UNSAFE_PROMPT))
        uploading.join()
    assert {answer.text for answer in seen} <= {EN["prompt_refused"], EN["not_checked"]}
    assert not holds(stack.chat_log(), BOMB)
    # For how long it is silent, `make bench-growth` measures: other tests use the same cores.
    assert silences
    assert SAFE_ANSWER in visitor.ask(SAFE_PROMPT).text
    assert FILTER in {model["id"] for model in stack.admin.get("/openai/models/1")["data"]}
