"""vLLM's engine as the server of a `moderation.Guard`, for routes that run in vLLM's own process."""

import time

from guard_server.vllm_plugin.engine_judge import EngineJudge
from moderation.conversation import Conversation
from moderation.endpoint.server_facts import ServerFacts
from moderation.errors import EndpointRefused
from moderation.stream.stream_schema import StreamReply, StreamRequest
from moderation.verdict import Verdict


class EngineServer:
    """A `moderation.endpoint.backend.Server` that is always available and never changes.

    Its verdicts on answers always say whether the answer refuses its prompt.
    """

    base_url = "vLLM's engine"
    learnt = True

    def __init__(self, judge: EngineJudge, model: str) -> None:
        self._judge = judge
        self.model = model
        self.facts = ServerFacts(
            number=0, learnt_at=time.monotonic(), model=model, context_tokens=judge.context, owner="vllm"
        )

    async def learn(self) -> ServerFacts:
        return self.facts

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        return await self._judge.judge(conversation, refusals=True)

    async def count(self, conversation: Conversation, facts: ServerFacts | None = None) -> int:
        return await self._judge.count(conversation)

    async def stream(self, request: StreamRequest) -> StreamReply | None:
        raise EndpointRefused("a Qwen3Guard-Gen judges only answers that are complete")

    async def drop_stream(self, key: str) -> None:
        pass

    async def aclose(self) -> None:
        self._judge.close()
