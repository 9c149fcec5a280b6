"""Qwen3Guard-Gen in vLLM's engine as a judge of conversations, without HTTP: tokens in, a verdict out."""

import math
from functools import partial
from itertools import count
from typing import Any

from vllm.engine.protocol import EngineClient
from vllm.exceptions import VLLMClientError
from vllm.inputs import tokens_input
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams

from guard_server.vllm_plugin.prompts import Prompts, RenderedPrompt
from moderation.conversation import Conversation, kind_of
from moderation.endpoint.one_token import with_explanation
from moderation.endpoint.prefill import VERDICT_PREFILL
from moderation.errors import EndpointDown, EndpointError, EndpointRefused, TooLong
from moderation.verdict import Severity, Verdict, severity_probabilities


class EngineJudge:
    """One model of the engine.

    Args:
        client: the engine.
        prompts: the model's tokenizer and chat template.
        models: its names.
    """

    def __init__(self, client: EngineClient, prompts: Prompts, models: list[str]) -> None:
        self._client = client
        self._prompts = prompts
        self._severities = {token: severity for severity, token in prompts.labels().items()}
        self._numbers = count()
        self.models = models if self._severities else []
        """None if the labels do not begin with different tokens."""
        self.context: int = client.model_config.max_model_len
        """Tokens."""
        # With temperature 0, this is the only one of the model's sampling settings that has an effect.
        own = client.model_config.get_diff_sampling_param()
        penalty = {name: own[name] for name in ("repetition_penalty",) if name in own}
        self._settings: dict[str, Any] = {
            "temperature": 0.0,
            "output_kind": RequestOutputKind.FINAL_ONLY,
            "skip_clone": True,
            **penalty,
        }
        self._label = SamplingParams(
            max_tokens=1, detokenize=False, logprob_token_ids=list(self._severities), **self._settings
        )

    async def judge(self, conversation: Conversation, *, refusals: bool = False) -> Verdict:
        """The verdict on the last turn; without severity if the model writes something else.

        Args:
            conversation: see `moderation.conversation`.
            refusals: whether the verdict on an answer says if it refuses its prompt.

        Raises:
            TooLong: it does not fit the model's context.
            EndpointRefused: the chat template rejects it.
            EndpointDown: the engine failed.
        """
        if not self._severities:
            return Verdict.none("the labels do not begin with different tokens: this is no Qwen3Guard-Gen")
        prompt = await self._read(conversation)
        ids = await self._prompts.tokens(prompt, VERDICT_PREFILL)
        if len(ids) + 1 > self.context:
            raise TooLong(
                f"the conversation has {len(ids)} tokens, and the guard's context {self.context}", self.context
            )
        output = await self._generate(ids, self._label)
        severity = self._severities.get(output.token_ids[0])
        if severity is None:
            return Verdict.none("the model's first token is no label: this is no Qwen3Guard-Gen")
        verdict = Verdict(severity=severity, probabilities=self._probabilities(output), prompt_tokens=len(ids))
        go_on = partial(self._go_on, prompt)
        return await with_explanation(verdict, kind_of(conversation), go_on, refusals=refusals)

    async def count(self, conversation: Conversation) -> int:
        """Number of tokens of `conversation` as a prompt, template included. Raises EndpointRefused."""
        return len(await self._prompts.tokens(await self._read(conversation)))

    def close(self) -> None:
        """Stop judging."""
        self._prompts.close()

    async def _read(self, conversation: Conversation) -> RenderedPrompt:
        try:
            return await self._prompts.read(conversation)
        except Exception as error:
            # A template is a program by the model's makers, and may raise any error.
            raise EndpointRefused(f"the chat template rejects the conversation: {error}") from error

    def _probabilities(self, output: CompletionOutput) -> dict[Severity, float] | None:
        if not output.logprobs:
            return None
        logprobs = output.logprobs[0]
        return severity_probabilities(
            {severity: math.exp(logprobs[token].logprob) for token, severity in self._severities.items()}
        )

    async def _go_on(self, prompt: RenderedPrompt, start: str, most: int) -> str:
        """What the model writes after `start`, as far as it fits the context; empty if the engine fails."""
        ids = await self._prompts.tokens(prompt, start)
        room = min(most, self.context - len(ids))
        if room < 1:
            return ""
        try:
            output = await self._generate(ids, SamplingParams(max_tokens=room, **self._settings))
        except EndpointError:
            # The verdict is valid without categories.
            return ""
        return str(output.text)

    async def _generate(self, ids: list[int], params: SamplingParams) -> CompletionOutput:
        try:
            async for output in self._client.generate(tokens_input(ids), params, f"guard-{next(self._numbers)}"):
                last = output
        except VLLMClientError as error:
            raise EndpointRefused(f"the engine rejects the conversation: {error}") from error
        except Exception as error:
            # vLLM logs the reason itself; it must not reach clients.
            raise EndpointDown(f"the engine failed: {type(error).__name__}") from error
        if not last.outputs[0].token_ids:
            raise EndpointDown("the engine aborted the request")
        return last.outputs[0]
