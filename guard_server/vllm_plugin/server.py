"""vLLM's engine in place of an endpoint: what `moderation.Guard` asks where the routes stand beside the model."""

import time
from typing import Any

from guard_server.vllm_plugin.judge import EngineJudge
from moderation.conversation import Conversation
from moderation.errors import EndpointRefused
from moderation.server_facts import ServerFacts
from moderation.verdict import Verdict


class EngineServer:
    """A `moderation.server.Server` that is always there and never changes.

    It tells of each answer if it refuses its prompt, too.
    """

    base_url = "vLLM's engine"
    learnt = True

    def __init__(self, judge: EngineJudge, model: str) -> None:
        self._judge = judge
        self.model = model
        self._facts = ServerFacts(
            number=0, learnt_at=time.monotonic(), model=model, context_tokens=judge.context, owner="vllm"
        )

    async def learn(self) -> ServerFacts:
        return self._facts

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        return await self._judge.judge(conversation, refusals=True)

    async def count(self, conversation: Conversation, facts: ServerFacts | None = None) -> int:
        return await self._judge.count(conversation)

    async def stream(self, body: dict[str, Any]) -> dict[str, Any]:
        raise EndpointRefused("a Qwen3Guard-Gen judges no answers while they grow")

    async def drop_stream(self, key: str) -> None:
        pass

    async def aclose(self) -> None:
        self._judge.close()
