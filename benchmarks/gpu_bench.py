"""The cost of a guard of each published size on this GPU: `python -m benchmarks.gpu_bench`. Downloads nothing.

Needs an environment with vLLM for CUDA (docs/guard-server.md); the Makefile builds none. The checkpoints have the
published sizes and random weights, since the values of weights do not affect the time. For each size, first Gen, then
Stream, on a real vLLM engine with vLLM's default share of memory (`serve` leaves more of it free): a verdict on a new
turn, alone and many at a time, and the checks of streamed answers. docs/choosing-a-model.md computes the same cases.
The input is tokens, so HTTP and tokenizer are not in these figures. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Must be set before vLLM is imported.
os.environ |= {
    "VLLM_PLUGINS": "qwen3guard_model",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}

import torch
from rich.console import Console
from rich.table import Table
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import tokens_input
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from guard_server.catalog import CONTEXT, DEMO_TOKENIZER
from guard_server.vllm_plugin import CONFIG_FORMAT
from guard_server.vllm_plugin.stream_engine import VllmStreamModel
from tests.stands.checkpoints.published_configs import SIZES, config

# Tokens, as in docs/choosing-a-model.md.
INSTRUCTION, TURN = 300, 300
ANSWER, STEP, BEHIND = 800, 32, 100
VERDICTS = 1024
STREAMS, CHECKS = 64, 8
ALONE = 40
ROUNDS = 3

Judge = Callable[[str, list[int], int], Awaitable[None]]
"""Arguments: name of a conversation, its tokens, and how many of them were judged before."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="of the models (default: all)")
    sizes = parser.parse_args().sizes
    console = Console(stderr=True)
    if not torch.cuda.is_available():
        parser.error("no GPU that PyTorch can use was found: see docs/guard-server.md for vLLM on a GPU")
    figures: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for kind, measure in (("gen", _measure_gen), ("stream", _measure_stream)):
                console.print(f"{kind}-{size}: starting vLLM")
                measured = asyncio.run(measure(_checkpoint(Path(folder), f"{kind}-{size}")))
                figures |= {f"{kind}_{size}_{name}": round(value, 2) for name, value in measured.items()}
                console.print(measured)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, str(value))
    console.print(table)
    print(json.dumps(figures))


def _checkpoint(folder: Path, name: str) -> Path:
    """A folder with a checkpoint without weights: vLLM fills them with random numbers."""
    checkpoint = folder / name
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps(config(name)), encoding="utf-8")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / file).symlink_to(DEMO_TOKENIZER / file)
    return checkpoint


def _engine(folder: Path, **options: Any) -> AsyncLLM:
    """An engine with random weights, and with dtype, context and prefix cache as set by `serve`."""
    arguments = AsyncEngineArgs(
        model=str(folder),
        load_format="dummy",
        dtype="bfloat16",
        max_model_len=min(CONTEXT, config(folder.name)["max_position_embeddings"]),
        enable_prefix_caching=True,
        disable_log_stats=True,
        **options,
    )
    # The usage context decides how many tokens one step may have.
    return AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER)


async def _measure_gen(folder: Path) -> dict[str, float]:
    engine = _engine(folder)
    one_token = SamplingParams(max_tokens=1, temperature=0, logprobs=20)
    behind = _tokens("behind", BEHIND)

    async def judge(name: str, ids: list[int]) -> None:
        async for _ in engine.generate(tokens_input(ids), one_token, f"{name}-{len(ids)}"):
            pass

    async def check(name: str, ids: list[int], _: int) -> None:
        await judge(name, [*ids, *behind])

    try:
        instruction = _tokens("instruction", INSTRUCTION)

        def turn(name: str) -> list[int]:
            return [*instruction, *_tokens(name, TURN)]

        await asyncio.gather(*(judge(f"warm-{n}", turn(f"warm-{n}")) for n in range(64)))
        alone = await _each([partial(judge, f"alone-{n}", turn(f"alone-{n}")) for n in range(ALONE)])
        rates = []
        for number in range(ROUNDS):
            turns = {f"{number}-{n}": turn(f"{number}-{n}") for n in range(VERDICTS)}
            started = time.perf_counter()
            await asyncio.gather(*(judge(name, ids) for name, ids in turns.items()))
            rates.append(VERDICTS / (time.perf_counter() - started))
        return {"verdict_alone_ms": alone, "verdicts_per_second": max(rates), **await _growing(check)}
    finally:
        engine.shutdown()


async def _measure_stream(folder: Path) -> dict[str, float]:
    engine = _engine(folder, config_format=CONFIG_FORMAT, runner="pooling", block_size=16)
    model = VllmStreamModel(engine)

    async def check(name: str, ids: list[int], have: int) -> None:
        await model.rows(name, ids, have)

    try:
        return await _growing(check)
    finally:
        engine.shutdown()


async def _growing(check: Judge) -> dict[str, float]:
    """Milliseconds per check of one streamed answer, and checks per second of many."""

    async def grow(name: str) -> None:
        ids = _tokens(name, ANSWER + CHECKS * STEP)
        for upto in range(ANSWER + STEP, len(ids) + 1, STEP):
            await check(name, ids[:upto], upto - STEP)

    async def begin(name: str) -> None:
        await check(name, _tokens(name, ANSWER + CHECKS * STEP)[:ANSWER], 0)

    rates = []
    for number in range(ROUNDS):
        names = [f"growing-{number}-{n}" for n in range(STREAMS)]
        await asyncio.gather(*map(begin, names))
        started = time.perf_counter()
        await asyncio.gather(*map(grow, names))
        rates.append(STREAMS * CHECKS / (time.perf_counter() - started))
    alone = []
    for n in range(ALONE // CHECKS):
        name, ids = f"one-{n}", _tokens(f"one-{n}", ANSWER + CHECKS * STEP)
        await begin(name)
        steps = range(ANSWER + STEP, len(ids) + 1, STEP)
        alone.append(await _each([partial(check, name, ids[:upto], upto - STEP) for upto in steps]))
    return {"check_alone_ms": statistics.median(alone), "checks_per_second": max(rates)}


async def _each(work: Sequence[Callable[[], Awaitable[None]]]) -> float:
    """Median milliseconds of one piece of work, one after another."""
    taken = []
    for one in work:
        started = time.perf_counter()
        await one()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def _tokens(name: str, length: int) -> list[int]:
    generator = random.Random(name)
    return [generator.randrange(12000) for _ in range(length)]


if __name__ == "__main__":
    main()
