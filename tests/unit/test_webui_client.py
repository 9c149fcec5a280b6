"""The client of Open WebUI's API, before a server that ends a connection just as it is used again."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from guard_server.errors import WebuiUnreachable
from guard_server.open_webui.client import WebuiClient
from tests.stands.waiting import PATIENCE


class _OneReply(BaseHTTPRequestHandler):
    """Answers the first request of a connection, and hangs up at the second one."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    _answered = False

    def do_GET(self) -> None:
        self.asked.append(self.command)
        self.rfile.read(int(self.headers["content-length"] or 0))
        if self._answered:
            self.close_connection = True
            return
        self._answered = True
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"true")

    def do_POST(self) -> None:
        self.do_GET()

    def log_request(self, *args: object) -> None:
        pass


@pytest.fixture
def asked() -> list[str]:
    """The method of each request, in the order in which they came."""
    return []


@pytest.fixture
def client(asked: list[str]) -> Iterator[WebuiClient]:
    handler = type("Handler", (_OneReply,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        with WebuiClient(url, trust_env=False, idle_seconds=PATIENCE) as client:
            yield client
        server.shutdown()
        thread.join()


def test_what_changes_nothing_is_asked_again(client: WebuiClient, asked: list[str]) -> None:
    assert client.get("/api/version") is True
    assert client.get("/api/version") is True
    assert asked == ["GET"] * 3


def test_a_change_is_not_made_twice(client: WebuiClient, asked: list[str]) -> None:
    assert client.post("/api/v1/functions/create", {}) is True
    with pytest.raises(WebuiUnreachable):
        client.post("/api/v1/functions/create", {})
    assert asked == ["POST"] * 2
