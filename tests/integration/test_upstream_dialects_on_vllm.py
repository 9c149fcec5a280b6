"""An unsafe answer in the dialects of real servers, through the real Pipelines server, judged by the real guard."""

from collections.abc import Iterator
from typing import Any

import pytest

from demo.chat_model.script import Script
from demo.chat_model.server import SCRIPT
from demo.stack.stack import UNSAFE_ANSWER_PROMPT
from moderation.notices.notice_texts import TEXTS
from tests.stands.models.upstream_dialects import spoken
from tests.stands.processes.guarded_server import GuardedServer, guarded_server
from tests.stands.waiting import until

UNSAFE = Script.load(SCRIPT).reply({"messages": [{"role": "user", "content": UNSAFE_ANSWER_PROMPT}]}).content
SAFE = "Paris is the capital of France. "
PROMPT = "Tell me something about France."


@pytest.fixture(scope="module")
def guarded_by_vllm(
    tmp_path_factory: pytest.TempPathFactory, guard_server_url: str, guard_server_key: str
) -> Iterator[GuardedServer]:
    folder = tmp_path_factory.mktemp("dialects")
    with guarded_server(folder, guard_url=guard_server_url, guard_api_key=guard_server_key) as running:
        yield running


@pytest.mark.parametrize("place", ["content", "reasoning"])
@pytest.mark.parametrize("dialect", ["azure", "openrouter", "vllm", "litellm"])
async def test_an_unsafe_answer_is_refused_and_nothing_of_it_is_shown(
    guarded_by_vllm: GuardedServer, dialect: str, place: str
) -> None:
    guarded_by_vllm.as_new()
    said: dict[str, Any] = {"content": UNSAFE} if place == "content" else {"content": SAFE, "reasoning": UNSAFE}
    guarded_by_vllm.upstream.chunks = spoken(dialect, **said)
    received = await guarded_by_vllm.ask(PROMPT)
    assert received.finish == "content_filter"
    assert received.said.endswith(TEXTS["en"]["answer_withheld"])
    assert not [word for word in ("house", "hairpin", "the lock", "stolen") if word in received.raw]
    # Another thread writes the record, soon after the answer.
    await until(lambda: len(guarded_by_vllm.audit()) == 2)
    records = [(record["direction"], record["action"], record["severity"]) for record in guarded_by_vllm.audit()]
    assert records == [("prompt", "pass", "Safe"), ("response", "refuse", "Unsafe")]


@pytest.mark.parametrize("dialect", ["azure", "openrouter", "vllm", "litellm"])
async def test_a_harmless_answer_arrives_whole(guarded_by_vllm: GuardedServer, dialect: str) -> None:
    guarded_by_vllm.as_new()
    guarded_by_vllm.upstream.chunks = spoken(dialect, SAFE * 3, reasoning="France has a capital. ")
    received = await guarded_by_vllm.ask(PROMPT)
    assert (received.said, received.finish) == (SAFE * 3, "stop")
