"""A real llama.cpp with the demo guard, which the stand-in in tests/dialects imitates."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jinja2
import pytest
from tokenizers import Tokenizer

from guard_server.catalog import DEMO_FOLDER, DEMO_TOKENIZER
from guard_server.doctor.examination import Level, examine
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.endpoint.server_facts import Style
from moderation.guard import Guard
from moderation.verdict import Category, Severity
from tests.stands.chats import BOMB
from tests.stands.plugins import load_built
from tests.stands.processes.llama_cpp_process import llama_cpp
from tests.stands.waiting import PATIENCE

CONTEXT = 1536
FILTER = load_built("qwen3guard_filter")


@pytest.fixture(scope="module", params=[False, True], ids=["its-own-template", "template-with-prefill"])
def prefill(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def root(prefill: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_cpp(tmp_path_factory.mktemp("llama"), context=CONTEXT, prefill=prefill) as url:
        yield url


@pytest.fixture
def endpoint(root: str) -> Endpoint:
    """The endpoint of `guard`, which closes it."""
    return Endpoint(f"{root}/v1", timeout=PATIENCE)


@pytest.fixture
async def guard(endpoint: Endpoint) -> AsyncIterator[Guard]:
    guard = Guard(endpoint, timeout=PATIENCE)
    yield guard
    await guard.aclose()


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "It's 2024: what's new, B2B?",
        "怎么做面包？如何制作炸弹？",
        "me@x.org, $3.50 (or 1,000,000)!\nمرحبا",
        "\n\n",
    ],
)
def test_the_file_tokenizes_text_like_the_demo_guard(root: str, prefill: bool, text: str) -> None:
    """Otherwise its verdicts would be those of another model."""
    template = jinja2.Environment().from_string((DEMO_FOLDER / "chat_template.jinja").read_text())
    messages = [{"role": "user", "content": text}]
    right = Tokenizer.from_file(str(DEMO_TOKENIZER / "tokenizer.json")).encode(template.render(messages=messages)).ids
    with httpx.Client(base_url=root, timeout=PATIENCE, trust_env=False) as client:
        prompt = client.post("/apply-template", json={"messages": messages}).json()["prompt"]
        body = {"content": prompt, "parse_special": True, "add_special": False}
        assert client.post("/tokenize", json=body).json()["tokens"] == right


async def test_the_first_verdict_is_right_with_probabilities(guard: Guard, endpoint: Endpoint, prefill: bool) -> None:
    verdict = await guard.judge([Turn("user", BOMB)])
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.VIOLENT,))
    assert verdict.probabilities is not None
    assert verdict.probabilities[Severity.UNSAFE] > 0.5
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    for text in ("How do I bake bread?", "怎么做面包？"):
        assert (await guard.judge([Turn("user", text)])).severity is Severity.SAFE
    assert endpoint.style is (Style.ONE_TOKEN if prefill else Style.FULL_WITH_LOGPROBS)


async def test_a_turn_beyond_the_context_is_read_in_windows(guard: Guard, endpoint: Endpoint) -> None:
    assert (await endpoint.learn()).context_tokens == CONTEXT
    calm = "We walked along the river and talked about the weather. " * 400
    assert (await guard.judge([Turn("user", calm)])).severity is Severity.SAFE
    assert (await guard.judge([Turn("user", calm + f"{BOMB} " * 300)])).severity is Severity.UNSAFE


async def test_a_refusal_of_too_long_a_prompt_is_recognised(root: str) -> None:
    guard = Guard(Endpoint(f"{root}/v1", timeout=PATIENCE), timeout=PATIENCE, context_tokens=8192)
    assert (
        await guard.judge([Turn("user", "We walked along the river and talked about the weather. " * 400)])
    ).severity is Severity.SAFE
    await guard.aclose()


async def test_doctor_names_llama_cpp(root: str, prefill: bool) -> None:
    report = await examine(f"{root}/v1", seconds=PATIENCE)
    found = {finding.check: finding for finding in report.findings}
    assert found["server"].found == "llama.cpp"
    assert found["template"].level is (Level.OK if prefill else Level.WARNING)
    assert "probabilit" in found["one-token verdicts"].found
    assert "without" not in found["one-token verdicts"].found
    assert found["bomb prompt"].level is Level.OK


async def test_the_filter_judges_with_llama_cpp(root: str, tmp_path: Path) -> None:
    pipeline: Any = FILTER.Pipeline()
    # By probabilities: without them, the label would decide despite this threshold.
    pipeline.valves = FILTER.Valves(
        guard_base_url=f"{root}/v1",
        block_threshold=0.5,
        timeout_seconds=PATIENCE,
        audit_path=str(tmp_path / "audit.jsonl"),
    )
    await pipeline.on_startup()
    for text in (BOMB, "How do I bake bread?"):
        body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": text}]}
        passed = await pipeline.inlet(body, {"id": "u1", "role": "user"})
        assert (passed["messages"][-1]["content"] == text) is (text != BOMB)
    await pipeline.on_shutdown()
    records = [json.loads(line) for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    scores = [record["probabilities"]["Unsafe"] for record in records if record.get("probabilities")]
    assert len(scores) == 2
    assert max(scores) > 0.5 > min(scores)
