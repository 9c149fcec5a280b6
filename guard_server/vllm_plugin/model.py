"""Qwen3Guard-Stream as a pooling model of vLLM: the guard's verdict at every token of a conversation.

Structure and weight names are those of the checkpoints of Qwen/Qwen3Guard-Stream-0.6B, -4B and -8B: a Qwen3 without
output layer, and after its last hidden state two branches without biases, each a projection, a norm and two heads.
"""

from collections.abc import Iterable

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.layers.pooler.activations import PoolerIdentity
from vllm.model_executor.layers.pooler.tokwise import pooler_for_token_classify
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsPP
from vllm.model_executor.models.interfaces_base import default_pooling_type
from vllm.model_executor.models.qwen3 import Qwen3Model
from vllm.model_executor.models.utils import AutoWeightsLoader, maybe_prefix
from vllm.sequence import IntermediateTensors


@default_pooling_type(tok_pooling_type="ALL")
class Qwen3ForGuardModel(nn.Module, SupportsLoRA, SupportsPP):  # type: ignore[misc]  # vLLM is not typed here
    """One row per token: the logits of the four heads side by side, float32 unless `--hf-overrides` says otherwise.

    `[risk level | category | query risk level | query category]`, 3 + 8 + 3 + 9 numbers in the published checkpoints.
    `guard_server.stream.head_labels` names them.
    """

    is_pooling_model = True
    hf_to_vllm_mapper = Qwen3Model.hf_to_vllm_mapper
    packed_modules_mapping = {  # noqa: RUF012  # as vLLM's own models declare it
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config = config
        self.model = Qwen3Model(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        dtype = vllm_config.model_config.head_dtype

        def linear(inputs: int, outputs: int) -> ReplicatedLinear:
            # Not split over tensor-parallel ranks: the norm needs the whole projection, and both are tiny.
            return ReplicatedLinear(inputs, outputs, bias=False, params_dtype=dtype, return_bias=False)

        hidden, inner = config.hidden_size, config.guard_inner_size

        def norm() -> RMSNorm:
            return RMSNorm(inner, eps=config.rms_norm_eps, dtype=dtype)

        self.risk_level_category_pre = linear(hidden, inner)
        self.risk_level_category_layernorm = norm()
        self.risk_level_head = linear(inner, config.num_risk_level)
        self.category_head = linear(inner, config.num_category)
        self.query_risk_level_category_pre = linear(hidden, inner)
        self.query_risk_level_category_layernorm = norm()
        self.query_risk_level_head = linear(inner, config.num_query_risk_level)
        self.query_category_head = linear(inner, config.num_query_category)

        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors
        pooler_config = vllm_config.model_config.pooler_config
        assert pooler_config is not None
        self.pooler = pooler_for_token_classify(pooler_config, classifier=self.heads, act_fn=PoolerIdentity())

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor | IntermediateTensors:
        return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def heads(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Hidden states (tokens, hidden size) to logits (tokens, all labels)."""
        answer = self.risk_level_category_layernorm(self.risk_level_category_pre(hidden_states))
        query = self.query_risk_level_category_layernorm(self.query_risk_level_category_pre(hidden_states))
        return torch.cat(
            (
                self.risk_level_head(answer),
                self.category_head(answer),
                self.query_risk_level_head(query),
                self.query_category_head(query),
            ),
            dim=-1,
        )

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        # A checkpoint may still contain the language model's output layer, tied or not.
        loader = AutoWeightsLoader(self, ignore_unexpected_prefixes=["lm_head."])
        loaded: set[str] = loader.load_weights(weights)
        return loaded
