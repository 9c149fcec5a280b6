"""`qwen3guard download`, then the same model without a network, with Hugging Face's own client and a small hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "a" * 40
MODEL = "some/guard"
FILES = {
    "config.json": b'{"architectures": ["Qwen3ForCausalLM"]}',
    "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
    "model.safetensors": b"weights",
}
LOAD = "from guard_server.serve import checkpoint; print(checkpoint.load('some/guard', 'huggingface').template)"


class Hub(BaseHTTPRequestHandler):
    """What the client asks a hub for: the list of a model's files, and each file by its commit."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith(f"/api/models/{MODEL}/revision/main"):
            listed = [{"rfilename": name, "size": len(content)} for name, content in FILES.items()]
            self._answer(json.dumps({"id": MODEL, "sha": COMMIT, "siblings": listed}).encode(), "application/json")
        elif self.path.startswith(f"/api/models/{MODEL}/tree/"):
            tree = [{"type": "file", "path": n, "size": len(c), "oid": self._etag(c)} for n, c in FILES.items()]
            self._answer(json.dumps(tree).encode(), "application/json")
        elif (name := self.path.rpartition("/")[2]) in FILES and f"/{MODEL}/resolve/{COMMIT}/" in self.path:
            self._answer(FILES[name], "application/octet-stream")
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        for header, value in {"Content-Type": kind, "X-Repo-Commit": COMMIT, "ETag": self._etag(body)}.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    @staticmethod
    def _etag(body: bytes) -> str:
        return hashlib.sha256(body).hexdigest()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ran(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", **variables}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)


def test_what_was_downloaded_is_loaded_without_a_network(tmp_path: Path) -> None:
    with hub() as address:
        downloaded = ran(tmp_path, "-m", "guard_server", "download", MODEL, HF_ENDPOINT=address)
    assert downloaded.returncode == 0, downloaded.stdout + downloaded.stderr
    assert {file.name for file in tmp_path.rglob(f"{COMMIT}/*")} == set(FILES)
    # The hub is gone.
    loaded = ran(tmp_path, "-c", LOAD, HF_HUB_OFFLINE="1", HF_ENDPOINT=address)
    assert loaded.stdout == "{{ messages }}\n", loaded.stderr


def test_without_a_network_a_model_that_was_never_downloaded_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    failed = ran(tmp_path, "-m", "guard_server", "download", MODEL, HF_HUB_OFFLINE="1", COLUMNS="1000")
    assert failed.returncode == 1
    assert "HF_HUB_OFFLINE is set, and some/guard was not downloaded before" in failed.stderr
    assert f"qwen3guard download {MODEL}" in failed.stderr


@pytest.mark.parametrize("model", ["demo", "."])
def test_a_model_on_this_machine_needs_no_download(tmp_path: Path, model: str) -> None:
    done = ran(tmp_path, "-m", "guard_server", "download", model, HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (0, "Nothing to download: the model is on this machine.\n")
