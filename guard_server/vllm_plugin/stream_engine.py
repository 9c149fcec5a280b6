"""vLLM's engine as a `StreamModel`: rows of logits, with the prefix cache as the state of every stream."""

from collections.abc import Sequence
from itertools import count

import torch
from vllm.engine.protocol import EngineClient
from vllm.inputs import tokens_input
from vllm.pooling_params import PoolingParams

from guard_server.stream.growing_tokens import Token
from guard_server.stream.head_labels import Labels
from guard_server.stream.live_stream import StreamPrompt
from guard_server.stream.stream_errors import GuardFailed
from guard_server.vllm_plugin.guard_tokenizer import GuardTokenizer
from moderation.conversation import Conversation


class VllmStreamModel:
    """A Qwen3Guard-Stream that vLLM serves; `template` replaces its tokenizer's chat template.

    Raises:
        UnreadableCheckpoint: its labels cannot be understood.
    """

    def __init__(self, client: EngineClient, template: str | None = None) -> None:
        self._client = client
        self._numbers = count()
        config = client.vllm_config
        self.labels = Labels.of(config.model_config.hf_config.to_dict())
        self.context: int = config.model_config.max_model_len
        self.block: int = config.cache_config.block_size
        self._tokenizer = GuardTokenizer(client.renderer.get_tokenizer(), template)

    def encode(self, texts: Sequence[str]) -> list[list[Token]]:
        """See `guard_server.stream.live_stream.StreamModel`, also for the others."""
        return self._tokenizer.encode(texts)

    def prompt(self, conversation: Conversation) -> StreamPrompt:
        return self._tokenizer.prompt(conversation)

    async def rows(self, stream: str, ids: Sequence[int], have: int) -> list[list[float]]:
        wanted = len(ids) - have
        try:
            rows = await self._encode(stream, list(ids), cached=True)
            if len(rows) < wanted:
                # Some are cached, but were never received: of a request that was cancelled.
                rows = await self._encode(stream, list(ids), cached=False)
        except Exception as error:
            # vLLM logs the reason itself; it must not reach clients.
            raise GuardFailed(f"the engine failed: {type(error).__name__}") from error
        if len(rows) < wanted:
            raise GuardFailed(f"the engine gave {len(rows)} rows for {wanted} tokens")
        result: list[list[float]] = rows[len(rows) - wanted :].tolist()
        return result

    async def _encode(self, stream: str, ids: list[int], *, cached: bool) -> torch.Tensor:
        """Rows (tokens, labels) of the last tokens of `ids`: of all that are not cached."""
        # The salt keeps streams apart: for tokens that another stream has cached, we would get no rows.
        prompt = tokens_input(ids, cache_salt=stream)
        # By default vLLM skips the cache for per-token pooling, since cached tokens give no rows. Here that is wanted.
        params = PoolingParams(task="token_classify", use_activation=False, skip_reading_prefix_cache=not cached)
        async for output in self._client.encode(prompt, params, f"guard-stream-{stream}-{next(self._numbers)}"):
            last = output
        rows: torch.Tensor = last.outputs.data
        return rows
