"""The cost of Qwen3Guard-Stream per token on vLLM: `make bench-stream`. Runs in the guard's environment.

One run on one machine, one thread each, random weights, float32. First, our model on a real vLLM engine against the
official algorithm, written from its description: one forward pass over the whole sequence per token of an answer
(QwenLM/Qwen3Guard, issue 22). Then against Qwen3Guard-Gen of the same size, which judges a streamed answer by
generating one token after its prefix and a fixed instruction. The last line is one JSON object.
"""

import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

# Must be set before vLLM is imported.
os.environ |= {
    "VLLM_PLUGINS": "qwen3guard_model",
    "VLLM_CPU_KVCACHE_SPACE": "4",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM

from guard_server.vllm_plugin import CONFIG_FORMAT
from guard_server.vllm_plugin.stream_engine import VllmStreamModel
from tests.stands.checkpoints.stream_reference import Reference, Shape, argmax_equal, make

LENGTHS = (256, 1024, 2048)
# The vocabulary size is fixed here, so that another tokenizer of the demo guard does not change the weights.
SHAPE = Shape(
    hidden=1024,
    layers=8,
    heads=16,
    kv_heads=8,
    head_dim=128,
    intermediate=3072,
    inner=512,
    vocabulary=16384,
    context=2304,
)
BLOCK = 32
CHUNK = 16
# `k1` measures this many tokens after a length, at the start of a block, where little is computed again. `k1_block`
# measures whole blocks.
STARTS = 8
ROUNDS = 5
STREAMS = 32
TOKENS_PER_SECOND = 20
# Qwen3Guard-Gen's template adds about this many tokens after the conversation. They are computed again at each check.
INSTRUCTION = 100


def main() -> None:
    torch.set_num_threads(1)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        console.print("making random weights")
        stream, gen = Path(folder, "stream"), Path(folder, "gen")
        make(stream, SHAPE)
        _as_gen(stream, gen)
        figures = asyncio.run(_measure_stream(stream, console))
        figures |= asyncio.run(_measure_gen(gen, figures.pop("stream_answer_seconds"), console))
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, str(value))
    console.print(table)
    print(json.dumps(figures))


async def _measure_stream(folder: Path, console: Console) -> dict[str, Any]:
    engine = AsyncLLM.from_engine_args(_arguments(folder, config_format=CONFIG_FORMAT, runner="pooling"))
    try:
        model, official, ids = VllmStreamModel(engine), Reference(folder), _tokens(0, max(LENGTHS) + STARTS)
        console.print("the same numbers?")
        ours = torch.tensor(await model.rows("whole", ids, 0))
        theirs = official.rows(ids)
        figures: dict[str, Any] = {
            "argmax_equal": argmax_equal(ours, theirs),
            "max_abs_diff": round((ours - theirs).abs().max().item(), 7),
        }
        seconds: dict[tuple[str, int], list[float]] = {}
        # Alternately, so that other load on the machine affects all of them. The minimum counts: other load only adds.
        for number in range(ROUNDS):
            for length in LENGTHS:
                console.print(f"round {number + 1} of {ROUNDS}: per token at length {length}")
                behind, blocks = range(length, length + STARTS), range(length - 2 * BLOCK, length)
                for name, size, places in (("k1", 1, behind), ("k1_block", 1, blocks), ("k16", CHUNK, blocks)):
                    taken = await _steps(model, f"{name}-{length}-{number}", ids, places, size)
                    seconds.setdefault((name, length), []).append(taken)
                taken = _timed(partial(official.rows, ids[:length]))
                seconds.setdefault(("official", length), []).append(taken)
        best = {what: min(values) for what, values in seconds.items()}
        for length in LENGTHS:
            for name in ("k1", "k1_block"):
                figures[f"{name}_{length}"] = round(best["official", length] / best[name, length], 1)
            figures[f"k16_{length}"] = round(best["official", length] / best["k16", length] * CHUNK, 1)
            figures[f"official_ms_{length}"] = round(best["official", length] * 1000, 1)
            figures[f"chunk_ms_{length}"] = round(best["k16", length] * 1000, 1)
        figures["growth_k16"] = round(best["k16", 2048] / best["k16", 256], 2)
        console.print(f"{STREAMS} streams at a time")
        rate = await _together(model)
        figures["tokens_per_second_32_streams"] = round(rate, 1)
        figures["streams_per_core_20tps"] = round(rate / TOKENS_PER_SECOND, 1)
        console.print(figures)

        async def judge(answer: list[int], upto: int) -> None:
            await model.rows("answer", answer[:upto], upto - CHUNK if upto > CHUNK else 0)

        figures["stream_answer_seconds"] = await _growing(judge)
        return figures
    finally:
        engine.shutdown()


async def _measure_gen(folder: Path, stream_seconds: float, console: Console) -> dict[str, Any]:
    console.print("the same answer by re-checks of a Gen of the same size")
    engine = AsyncLLM.from_engine_args(_arguments(folder))
    instruction, one_token = _tokens(99, INSTRUCTION), SamplingParams(max_tokens=1, temperature=0)

    async def judge(answer: list[int], upto: int) -> None:
        async for _ in engine.generate(tokens_input([*answer[:upto], *instruction]), one_token, f"check-{upto}"):
            pass

    try:
        await judge(_tokens(98, 64), 64)
        return {"gen_rechecks_over_stream": round(await _growing(judge) / stream_seconds, 2)}
    finally:
        engine.shutdown()


def _arguments(folder: Path, **options: Any) -> AsyncEngineArgs:
    return AsyncEngineArgs(
        model=str(folder),
        dtype="float32",
        block_size=BLOCK,
        max_model_len=SHAPE.context,
        enable_prefix_caching=True,
        disable_log_stats=True,
        **options,
    )


def _as_gen(stream: Path, gen: Path) -> None:
    """Write the same backbone as a language model whose output layer is the embeddings (tied)."""
    gen.mkdir()
    weights = {name: tensor for file in stream.glob("*.safetensors") for name, tensor in load_file(file).items()}
    backbone = {name: tensor for name, tensor in weights.items() if name.startswith("model.")}
    save_file(backbone, gen / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((stream / "config.json").read_text())
    del config["auto_map"]
    config |= {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
    (gen / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (gen / file).symlink_to(stream / file)


def _tokens(seed: int, length: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(12000) for _ in range(length)]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def _steps(model: VllmStreamModel, name: str, ids: list[int], places: range, size: int) -> float:
    """Mean seconds per step of `size` tokens over `places`, which begin at the start of a block."""
    await model.rows(name, ids[: places.start], 0)
    started = time.perf_counter()
    for upto in range(places.start + size, places.stop + 1, size):
        await model.rows(name, ids[:upto], upto - size)
    return (time.perf_counter() - started) * size / len(places)


async def _together(model: VllmStreamModel) -> float:
    """Tokens per second of all streams together. Each grows from 256 tokens to 512 in chunks."""

    async def one(number: int, first: int, last: int) -> None:
        ids = _tokens(number, last)
        for upto in range(first + CHUNK, last + 1, CHUNK):
            await model.rows(f"together-{number}", ids[:upto], upto - CHUNK)

    for number in range(STREAMS):
        await model.rows(f"together-{number}", _tokens(number, 512)[:256], 0)
    started = time.perf_counter()
    await asyncio.gather(*(one(number, 256, 512) for number in range(STREAMS)))
    return STREAMS * 256 / (time.perf_counter() - started)


async def _growing(judge: Callable[[list[int], int], Awaitable[None]]) -> float:
    """Seconds to judge an answer of 512 tokens every 16 tokens."""
    answer = _tokens(97, 512)
    started = time.perf_counter()
    for upto in range(CHUNK, len(answer) + 1, CHUNK):
        await judge(answer, upto)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
