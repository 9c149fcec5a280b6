"""A real llama.cpp that serves the demo guard, as a subprocess in its environment."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from guard_server.catalog import DEMO_FOLDER, DEMO_TOKENIZER
from tests.stands.processes.pipelines_server import python_of
from tests.stands.servers import free_port
from tests.stands.waiting import PATIENCE

_HERE = Path(__file__).parent
_START_SECONDS = 300


@contextmanager
def llama_cpp(folder: Path, *, context: int, prefill: bool) -> Iterator[str]:
    """Its address, without /v1.

    Args:
        folder: for its file and its log.
        context: tokens.
        prefill: whether the chat template accepts the beginning of a reply, like guard_server's.
    """
    python, model, port = str(python_of("llama-cpp")), folder / "qwen3guard-demo.gguf", free_port()
    write = [python, str(_HERE / "demo_gguf.py"), str(DEMO_FOLDER), str(DEMO_TOKENIZER), str(model)]
    subprocess.run([*write, *(["--prefill"] if prefill else [])], check=True)
    command = [python, str(_HERE / "llama_cpp_server.py"), str(model), str(port), str(context)]
    with (folder / "llama.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(process, f"http://127.0.0.1:{port}", folder / "llama.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            # It has no command to stop, and no state to lose.
            process.kill()
            process.wait(timeout=PATIENCE)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.05)
