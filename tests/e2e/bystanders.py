"""The services that a request may start in addition to the chat model: image generation, a tool, a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.stack.stack import Stack
from guard_server.open_webui.records import EVERYBODY
from tests.e2e.stored_chat import holds
from tests.stands.servers import serve
from tests.stands.waiting import wait_until

TOOL = '''
import urllib.request


class Tools:
    def get_time(self) -> str:
        """Tell the time."""
        return urllib.request.urlopen("{url}/tool").read().decode()
'''
# One grey pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Bystanders:
    """The server of these services. Records which of them ran."""

    def __init__(self, stack: Stack, *, file_text: str = "pancake soup", tool_result: str = "five o'clock") -> None:
        self.stack = stack
        self.file_text = file_text
        self.tool_result = tool_result
        self.served: set[str] = set()
        """`tool` and `image`, if they were called."""
        self._file: dict[str, Any] = {}

    @contextmanager
    def running(self) -> Iterator[Bystanders]:
        images = Route("/images/generations", self._image, methods=["POST"])
        with serve(Starlette(routes=[Route("/tool", self._tool), images])) as url:
            before = self.stack.admin.get("/api/v1/images/config")
            try:
                self._set_up(url, before)
                yield self
            finally:
                self.stack.admin.post("/api/v1/images/config/update", before)
                self.stack.admin.http.delete("/api/v1/tools/id/clock/delete").raise_for_status()

    @property
    def request(self) -> dict[str, Any]:
        """The keys of a request with all of them switched on in the page."""
        # "full" puts the whole file into the prompt: the slim installation has no store for vectors.
        file = {"type": "file", "id": self._file["id"], "name": "menu.txt", "file": self._file, "context": "full"}
        return {"features": {"image_generation": True}, "tool_ids": ["clock"], "files": [file]}

    def ran(self) -> set[str]:
        """The ones that ran since the last `forget`."""
        return self.served | ({"file"} if holds(self.stack.chat_log(), self.file_text) else set())

    def forget(self) -> None:
        self.served.clear()
        self.stack.clear_chat_log()

    def _set_up(self, url: str, images: dict[str, Any]) -> None:
        engine = {
            "ENABLE_IMAGE_GENERATION": True,
            "ENABLE_IMAGE_PROMPT_GENERATION": False,
            "IMAGE_GENERATION_ENGINE": "openai",
            "IMAGE_GENERATION_MODEL": "painter",
            "IMAGE_SIZE": "512x512",
            "IMAGES_OPENAI_API_BASE_URL": url,
            "IMAGES_OPENAI_API_KEY": "none",
        }
        self.stack.admin.post("/api/v1/images/config/update", images | engine)
        meta = {"description": "Tells the time."}
        tool = {"id": "clock", "name": "clock", "content": TOOL.format(url=url), "meta": meta}
        self.stack.admin.post("/api/v1/tools/create", tool | {"access_grants": [EVERYBODY]})
        file = ("menu.txt", self.file_text.encode(), "text/plain")
        self._file = self.stack.user.http.post("/api/v1/files/", files={"file": file}).raise_for_status().json()
        wait_until(lambda: self.stack.user.get(f"/api/v1/files/{self._file['id']}")["data"].get("content"))

    async def _tool(self, request: Request) -> Response:
        self.served.add("tool")
        return JSONResponse(self.tool_result)

    async def _image(self, request: Request) -> Response:
        self.served.add("image")
        return JSONResponse({"data": [{"b64_json": PNG}]})
