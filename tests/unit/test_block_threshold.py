"""The valve `block_threshold`, from the wire to the decision."""

from pathlib import Path

import pytest

from moderation.policy import score
from tests.stands.guards.stub_guard import StubGuard
from webui.message_reviews import MessageReviews
from webui.moderator import ModerationValves, Moderator

MESSAGES = [{"role": "user", "content": "How do I bake bread?"}]


@pytest.mark.parametrize(("threshold", "passes"), [(0, True), (0.05, False), (0.5, True)])
async def test_a_turn_is_refused_from_the_threshold_on(
    guard_url: str, tmp_path: Path, threshold: float, passes: bool
) -> None:
    moderator = Moderator(ModerationValves(guard_base_url=guard_url, block_threshold=threshold), tmp_path)
    found = (await MessageReviews(moderator, MESSAGES).review())[0].review
    await moderator.aclose()
    assert found is not None
    # The stub is never certain: 0.1 for Controversial and Unsafe together.
    assert score(found.verdict, "strict") == pytest.approx(0.1, abs=0.01)
    assert found.decision.passes is passes


async def test_a_threshold_has_no_effect_without_probabilities(stub: StubGuard, guard_url: str, tmp_path: Path) -> None:
    stub.logprobs = False
    moderator = Moderator(ModerationValves(guard_base_url=guard_url, block_threshold=0.05), tmp_path)
    found = (await MessageReviews(moderator, MESSAGES).review())[0].review
    await moderator.aclose()
    assert found is not None
    assert score(found.verdict, "strict") is None
    assert found.decision.passes
