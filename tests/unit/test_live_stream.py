"""One stream without HTTP and engine."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_server.stream.growing_tokens import Token
from guard_server.stream.live_stream import LiveStream, Progress
from guard_server.stream.stream_errors import GuardFailed, TooMuch
from moderation.conversation import Turn
from moderation.policy import HARMFUL, Strictness
from moderation.verdict import Category, Severity
from tests.stands.guards.stub_stream import StubStream

HELLO = [Turn("user", "Good morning!")]
STRICT: Strictness = "strict"
LOOSE: Strictness = "loose"
TEXTS = st.lists(st.sampled_from(["fine", "good", "bad1", "bad2", "maybe1", ",", "\n", " "]), max_size=60).map(" ".join)


async def judged(text: str, cuts: list[int], model: StubStream | None = None) -> Progress:
    stream = LiveStream(model or StubStream(), HELLO)
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    for start, stop in pairwise(borders):
        progress = await stream.feed(text[start:stop])
        if progress.final:
            return progress
    return await stream.feed("", end=True)


async def test_the_prompt_is_judged_by_its_last_user_turn() -> None:
    stream = LiveStream(StubStream(), [Turn("user", "bad"), Turn("assistant", "no"), Turn("user", "something maybe")])
    reading = await stream.judge_prompt()
    assert (reading.severity, reading.category) == (Severity.CONTROVERSIAL, Category.POLITICALLY_SENSITIVE_TOPICS)


async def test_a_safe_answer_is_cleared_to_its_end() -> None:
    progress = await judged("A calm answer, with some words.", [3, 9, 10, 20])
    assert (progress.severity, progress.final, progress.violations) == (
        Severity.SAFE,
        True,
        {STRICT: None, LOOSE: None},
    )
    assert progress.cleared == {STRICT: 31, LOOSE: 31}


async def test_a_violation_says_where_and_why() -> None:
    progress = await judged("It was bad bad and more", [8, 15])
    violation = progress.violations[LOOSE]
    assert violation is not None
    assert (violation.token, violation.character, violation.severity) == (3, 10, Severity.UNSAFE)
    assert violation.reading.category is Category.VIOLENT
    assert progress.cleared == {STRICT: 6, LOOSE: 6}
    assert progress.final


async def test_loose_passes_controversial_text_that_strict_refuses() -> None:
    progress = await judged("so maybe maybe fine", [])
    assert progress.severity is Severity.CONTROVERSIAL
    assert progress.cleared == {STRICT: 2, LOOSE: 19}
    assert progress.violations[LOOSE] is None


async def test_tokens_of_an_allowed_category_are_not_flagged() -> None:
    stream = LiveStream(StubStream(), HELLO, [Category.VIOLENT])
    progress = await stream.feed("bad bad bad, then maybe maybe", end=True)
    assert progress.violations[LOOSE] is None
    violation = progress.violations[STRICT]
    assert violation is not None
    assert violation.reading.category is Category.POLITICALLY_SENSITIVE_TOPICS


async def test_one_flagged_token_is_held_until_the_next_one_clears_it() -> None:
    stream = LiveStream(StubStream(), HELLO)
    assert (await stream.feed("fine bad fine")).cleared[STRICT] == len("fine")
    assert (await stream.feed(" fine")).cleared[STRICT] == len("fine bad fine")


async def test_a_flag_on_the_last_token_alone_refuses_nothing() -> None:
    progress = await judged("fine bad", [])
    assert (progress.severity, progress.cleared[STRICT]) == (Severity.SAFE, len("fine bad"))


@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=40))
async def test_the_verdict_does_not_depend_on_the_pieces_of_a_text(text: str, cuts: list[int]) -> None:
    whole, parts = await judged(text, []), await judged(text, cuts)
    assert (parts.violations, parts.cleared, parts.severity) == (whole.violations, whole.cleared, whole.severity)


@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=40))
async def test_clearing_lags_and_never_leads(text: str, cuts: list[int]) -> None:
    final = await judged(text, [])
    stream = LiveStream(StubStream(), HELLO)
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    before = {STRICT: 0, LOOSE: 0}
    for start, stop in pairwise(borders):
        progress = await stream.feed(text[start:stop])
        for strictness in HARMFUL:
            assert before[strictness] <= progress.cleared[strictness] <= min(stop, final.cleared[strictness])
        before = progress.cleared
        if progress.final:
            break


async def test_every_token_is_asked_for_once_and_long_texts_in_parts_of_whole_blocks() -> None:
    model = StubStream()
    await judged("calm words " * 700, [777, 4444], model)
    known = model.asked[0][2]
    for stream, total, have in model.asked:
        assert (stream, have) == (model.asked[0][0], known)
        assert total - have <= 16 * model.block
        known = total
    full = [total for _, total, have in model.asked if total - have > 15 * model.block]
    assert full
    assert all(total % model.block == 0 for total in full)


async def test_two_streams_have_different_names() -> None:
    model = StubStream()
    await judged("calm", [], model)
    await judged("calm", [], model)
    assert len({stream for stream, _, _ in model.asked}) == 2


async def test_the_model_is_not_asked_after_a_refusal() -> None:
    model = StubStream()
    await judged("bad bad " + "more " * 3000, [], model)
    assert sum(total - have for _, total, have in model.asked) <= 16 * model.block


async def test_more_than_the_context_is_an_error_that_names_the_limit() -> None:
    with pytest.raises(TooMuch, match="4096 tokens") as caught:
        LiveStream(StubStream(), [Turn("user", "word " * 5000)])
    assert caught.value.param == "messages"
    stream = LiveStream(StubStream(), HELLO)
    with pytest.raises(TooMuch) as caught:
        await stream.feed("word " * 5000)
    assert caught.value.param == "text"


async def test_numbers_that_are_not_finite_are_no_verdict() -> None:
    model = StubStream()
    model._row = lambda ids: [float("nan")] * 23  # type: ignore[method-assign]
    with pytest.raises(GuardFailed):
        await LiveStream(model, HELLO).judge_prompt()


class FromTheEnd(StubStream):
    """Tokens of four characters, counted from the end: more text changes all of them."""

    def encode(self, texts: Sequence[str], /) -> list[list[Token]]:
        def one(text: str) -> list[Token]:
            starts = [0, *range(len(text) % 4 or 4, len(text), 4)] if text else []
            spans = list(pairwise([*starts, len(text)]))
            ids = self._ids([text[start:stop] for start, stop in spans])
            return [Token(number, *span) for number, span in zip(ids, spans, strict=True)]

        return [one(text) for text in texts]


async def test_tokens_that_changed_are_judged_again() -> None:
    model, text = FromTheEnd(), "bad1" + "x" * 96
    progress = await judged(text, list(range(0, 100, 3)), model)
    assert (progress.tokens, progress.cleared[STRICT], progress.severity) == (25, 100, Severity.SAFE)
    computed = sum(total - have for _, total, have in model.asked)
    assert computed > progress.tokens


async def test_after_a_failure_a_stream_continues_at_the_same_place() -> None:
    model = StubStream()
    stream = LiveStream(model, HELLO)
    model.fails = GuardFailed("down")
    with pytest.raises(GuardFailed):
        await stream.feed("bad bad and more words, ")
    model.fails = None
    assert (await stream.feed("", end=True)).violations == (await judged("bad bad and more words, ", [])).violations
