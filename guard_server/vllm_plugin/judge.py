"""Qwen3Guard-Gen in vLLM's engine as a judge of conversations: tokens in, a verdict out, no HTTP between."""

import math
from itertools import count
from typing import Any

from vllm.engine.protocol import EngineClient
from vllm.exceptions import VLLMClientError
from vllm.inputs import tokens_input
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams

from guard_server.vllm_plugin.prompts import Prompt, Prompts
from moderation.conversation import Conversation, kind_of
from moderation.errors import EndpointDown, EndpointError, EndpointRefused, TooLong
from moderation.one_token import REPLY_TOKENS, WORD_TOKENS
from moderation.prefill import VERDICT_PREFILL
from moderation.verdict import Severity, Verdict, parse_reply


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
        """None where its tokenizer cannot tell the labels apart."""
        self.context: int = client.model_config.max_model_len
        """Tokens."""
        # Temperature 0 leaves of the model's own settings for sampling only this.
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
        """The verdict of the last turn; one without severity where the model writes something else.

        Args:
            conversation: see `moderation.conversation`.
            refusals: whether to tell of an answer if it refuses its prompt.

        Raises:
            TooLong: it does not fit the model's context.
            EndpointRefused: the chat template does not take it.
            EndpointDown: the engine failed.
        """
        if not self._severities:
            return Verdict.none("the model's tokenizer cannot tell the labels apart: this is no Qwen3Guard-Gen")
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
        verdict = Verdict(severity=severity, probabilities=self._probabilities(output))
        return await self._explained(conversation, prompt, verdict, refusals=refusals)

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the prompt that `conversation` makes, template included. Raises EndpointRefused."""
        return len(await self._prompts.tokens(await self._read(conversation)))

    def close(self) -> None:
        """Judge no more."""
        self._prompts.close()

    async def _read(self, conversation: Conversation) -> Prompt:
        try:
            return await self._prompts.read(conversation)
        except Exception as error:
            # A template is a program of the model's makers, and may raise anything.
            raise EndpointRefused(f"the chat template does not take the conversation: {error}") from error

    def _probabilities(self, output: CompletionOutput) -> dict[Severity, float] | None:
        if not output.logprobs:
            return None
        told = output.logprobs[0]
        masses = {severity: math.exp(told[token].logprob) for token, severity in self._severities.items()}
        total = sum(masses.values())
        return {severity: mass / total for severity, mass in masses.items()} if total > 0 else None

    async def _explained(
        self, conversation: Conversation, prompt: Prompt, verdict: Verdict, *, refusals: bool
    ) -> Verdict:
        """`verdict` with categories and refusal, as far as it has any: see `OneTokenVerdicts.explained`."""
        start = f"{VERDICT_PREFILL} {verdict.severity}\nCategories:"
        kind = kind_of(conversation)
        if verdict.severity is not Severity.SAFE:
            said = parse_reply(start + await self._go_on(prompt, start, REPLY_TOKENS), kind)
            verdict = verdict.model_copy(update={"categories": said.categories})
        if refusals and kind == "response":
            start = f"{start} {', '.join(verdict.categories) or None}\nRefusal:"
            said = parse_reply(start + await self._go_on(prompt, start, WORD_TOKENS), kind)
            verdict = verdict.model_copy(update={"refusal": said.refusal})
        return verdict

    async def _go_on(self, prompt: Prompt, start: str, most: int) -> str:
        """What the model writes behind `start`, as far as that fits."""
        ids = await self._prompts.tokens(prompt, start)
        room = min(most, self.context - len(ids))
        if room < 1:
            return ""
        try:
            output = await self._generate(ids, SamplingParams(max_tokens=room, **self._settings))
        except EndpointError:
            # The verdict stands without them.
            return ""
        return str(output.text)

    async def _generate(self, ids: list[int], params: SamplingParams) -> CompletionOutput:
        try:
            async for output in self._client.generate(tokens_input(ids), params, f"guard-{next(self._numbers)}"):
                last = output
        except VLLMClientError as error:
            raise EndpointRefused(f"the engine does not take the conversation: {error}") from error
        except Exception as error:
            # vLLM's own reasons are in its log, where they belong.
            raise EndpointDown(f"the engine failed: {type(error).__name__}") from error
        if not last.outputs[0].token_ids:
            raise EndpointDown("the engine gave the request up")
        return last.outputs[0]
