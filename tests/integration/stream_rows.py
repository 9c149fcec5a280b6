"""Compares the model on vLLM with the reference, in the guard's environment; prints one JSON object for a test.

python -m tests.integration.stream_rows CHECKPOINT
"""

import asyncio
import json
import random
import sys
from pathlib import Path

import torch
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM

from guard_server.catalog import tokenizer_of
from guard_server.vllm_plugin import CONFIG_FORMAT
from guard_server.vllm_plugin.stream_engine import VllmStreamModel
from tests.stands.checkpoints.stream_reference import Reference, argmax_equal

TOKENS = 200


async def rows(model: VllmStreamModel, ids: list[int], size: int) -> torch.Tensor:
    found: list[list[float]] = []
    while len(found) < len(ids):
        upto = min(len(ids), len(found) + size)
        found += await model.rows(f"in-parts-of-{size}", ids[:upto], len(found))
    return torch.tensor(found)


async def main(folder: Path) -> None:
    arguments = AsyncEngineArgs(
        model=str(folder),
        tokenizer=str(tokenizer_of(folder)),
        config_format=CONFIG_FORMAT,
        runner="pooling",
        dtype="float32",
        enforce_eager=True,
        block_size=32,
        max_model_len=1024,
    )
    engine = AsyncLLM.from_engine_args(arguments)
    try:
        model = VllmStreamModel(engine)
        generator = random.Random(0)
        ids = [generator.randrange(12000) for _ in range(TOKENS)]
        expected = Reference(folder).rows(ids)
        result = {"deviation_of_logits": expected.std().item(), "parts": {}}
        for size in (1, 16, 50, TOKENS):
            found = await rows(model, ids, size)
            result["parts"][size] = {
                "shape": list(found.shape),
                "difference": (found - expected).abs().max().item(),
                "argmax_equal": argmax_equal(found, expected),
            }
    finally:
        engine.shutdown()
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
