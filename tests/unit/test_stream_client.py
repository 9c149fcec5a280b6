"""Guard and Watcher with a stream endpoint: the real routes, with a stub model."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard_server.stream.stream_errors import GuardFailed
from moderation.answer.channels import Channel, Piece, Rank
from moderation.answer.progress import End
from moderation.answer.watch import Watched, Watcher
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.guard import Guard
from moderation.policy import Policy
from moderation.verdict import Category, Severity
from tests.stands.guards.stream_server import StreamServer, broken_server
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE

CONTENT = Channel(0, Rank.CONTENT, 0, "content")
CONTEXT = [Turn("user", "Tell me something.")]
SAFE = "It was a calm day by the sea, and the two of them walked along the shore until it was dark. " * 4


@pytest.fixture
def server() -> StreamServer:
    return StreamServer()


@pytest.fixture
async def guard(server: StreamServer) -> AsyncIterator[Guard]:
    with serve(server.app) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE)
        yield guard
        await guard.aclose()


async def answer(text: str, size: int = 4, pause: float = 0.002) -> AsyncIterator[Piece]:
    for start in range(0, len(text), size):
        yield Piece(CONTENT, text[start : start + size])
        await asyncio.sleep(pause)


async def watch(guard: Guard, pieces: AsyncIterator[Piece], policy: Policy | None = None) -> tuple[Watched, str]:
    shown: list[Piece] = []
    watcher = Watcher(guard, policy or Policy(), CONTEXT, shown.extend, asyncio.sleep(0))
    watched = await watcher.watch(pieces)
    return watched, "".join(piece.text for piece in shown)


async def nothing_is_left(server: StreamServer) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(server.sessions):
            await asyncio.sleep(0.01)


async def test_a_prompt_is_judged_by_the_stream_model(guard: Guard) -> None:
    flagged = await guard.judge([Turn("user", "something maybe")])
    assert (flagged.severity, flagged.categories) == (
        Severity.CONTROVERSIAL,
        (Category.POLITICALLY_SENSITIVE_TOPICS,),
    )
    assert flagged.probabilities is not None
    assert (await guard.judge(CONTEXT)).categories == ()


async def test_a_whole_answer_is_judged_with_all_of_its_categories(guard: Guard) -> None:
    verdict = await guard.judge([*CONTEXT, Turn("assistant", "so maybe maybe and then bad bad words")])
    assert verdict.severity is Severity.UNSAFE
    assert set(verdict.categories) == {Category.VIOLENT, Category.POLITICALLY_SENSITIVE_TOPICS}
    assert (await guard.judge([*CONTEXT, Turn("assistant", SAFE)])).severity is Severity.SAFE
    assert (await guard.judge([Turn("assistant", "bad bad words")])).severity is Severity.UNSAFE


async def test_a_safe_answer_is_shown_whole_and_every_token_is_computed_once(
    guard: Guard, server: StreamServer
) -> None:
    watched, shown = await watch(guard, answer(SAFE))
    assert (watched.end, shown) == (End.COMPLETE, SAFE)
    streams = {name for name, _, _ in server.model.asked}
    assert len(streams) == 1
    computed = sum(total - have for _, total, have in server.model.asked)
    assert computed == max(total for _, total, _ in server.model.asked)
    await nothing_is_left(server)


async def test_an_answer_is_refused_at_its_second_flagged_token(guard: Guard, server: StreamServer) -> None:
    watched, shown = await watch(guard, answer(f"{SAFE}And then bad1 bad2 came. {SAFE}"))
    assert watched.end is End.REFUSED
    assert watched.verdict.categories == (Category.VIOLENT,)
    assert "bad" not in shown
    assert SAFE.startswith(shown[:40])
    await nothing_is_left(server)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(0, 60))
async def test_nothing_flagged_is_ever_shown(guard: Guard, size: int, at: int) -> None:
    text = f"{SAFE[:at]} bad1 bad2 {SAFE[at:]}"
    watched, shown = await watch(guard, answer(text, size, 0.0))
    assert watched.end is End.REFUSED
    assert "bad" not in shown
    assert text.startswith(shown)


async def test_the_policy_decides_on_controversial_text_and_allowed_categories(guard: Guard) -> None:
    text = "well maybe maybe not, it is so. "
    assert (await watch(guard, answer(text)))[0].end is End.REFUSED
    for policy in (
        Policy(strictness="loose"),
        Policy(allowed_categories=frozenset({Category.POLITICALLY_SENSITIVE_TOPICS})),
    ):
        watched, shown = await watch(guard, answer(text), policy)
        assert (watched.end, shown) == (End.COMPLETE, text)


async def test_a_policy_that_only_records_shows_everything(guard: Guard) -> None:
    text = f"It was bad bad from the start. {SAFE}"
    watched, shown = await watch(guard, answer(text), Policy(mode="monitor"))
    assert (watched.end, shown) == (End.COMPLETE, text)
    assert watched.verdict.severity is Severity.UNSAFE


async def test_a_stream_that_the_server_lost_is_opened_again(guard: Guard, server: StreamServer) -> None:
    server.forgets = True
    watched, shown = await watch(guard, answer(SAFE))
    assert (watched.end, shown) == (End.COMPLETE, SAFE)
    assert len({name for name, _, _ in server.model.asked}) > 1


async def test_a_guard_that_fails_withholds(guard: Guard, server: StreamServer) -> None:
    server.model.fails = GuardFailed("the engine failed")
    watched, shown = await watch(guard, answer(SAFE))
    assert (watched.end, shown) == (End.WITHHELD, "")
    assert watched.verdict.problem is not None


async def test_a_reader_that_leaves_leaves_no_stream(guard: Guard, server: StreamServer) -> None:
    async def endless() -> AsyncIterator[Piece]:
        while True:
            yield Piece(CONTENT, "more and more, ")
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch(guard, endless()))
    async with asyncio.timeout(PATIENCE):
        while not len(server.sessions):
            await asyncio.sleep(0.01)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    await nothing_is_left(server)


async def test_an_answer_that_is_too_long_gets_no_verdict(guard: Guard) -> None:
    watched, _ = await watch(guard, answer("word " * 5000, 2000))
    assert watched.end is End.WITHHELD
    assert "4096 tokens" in (watched.verdict.problem or "")


async def test_only_the_newest_turns_of_a_long_conversation_are_read(guard: Guard, server: StreamServer) -> None:
    older = [Turn("user", "word " * 1500), Turn("assistant", "word " * 1500), Turn("user", "word " * 1500)]
    shown: list[Piece] = []
    watcher = Watcher(guard, Policy(), [*older, *CONTEXT], shown.extend, asyncio.sleep(0))
    assert (await watcher.watch(answer(SAFE))).end is End.COMPLETE
    assert server.model.asked[-1][1] > 1500


async def test_an_answer_without_a_prompt_is_judged_too(guard: Guard) -> None:
    for context in ([], [Turn("user", "Hi"), Turn("assistant", "Hello.")]):
        shown: list[Piece] = []
        watcher = Watcher(guard, Policy(), [*context, Turn("assistant", "It ")], shown.extend, asyncio.sleep(0))
        assert (await watcher.watch(answer("was bad bad then."))).end is End.REFUSED


async def test_a_turn_that_is_too_long_is_read_in_windows(guard: Guard) -> None:
    assert (await guard.judge([Turn("user", "word " * 9000)])).severity is Severity.SAFE
    assert (await guard.judge([Turn("user", "word " * 9000 + "bad")])).severity is Severity.UNSAFE


READING = {"severity": "Safe", "category": None, "probabilities": {"Safe": 1.0, "Controversial": 0.0, "Unsafe": 0.0}}
JUDGED = {"id": "s", "received": 1, "tokens": 1, "severity": "Safe", "final": False}
PROGRESS = JUDGED | {"violations": {"strict": None, "loose": None}, "cleared": {"strict": 1, "loose": 1}}


@pytest.mark.parametrize(
    "reply",
    [
        [],
        "text",
        {},
        {"prompt": 7, "violations": 7},
        {"prompt": READING | {"probabilities": {"Safe": 10**400, "Controversial": 0, "Unsafe": 0}}},
        {"prompt": READING | {"probabilities": {"Safe": 2.0, "Controversial": 0, "Unsafe": 0}}},
        {"prompt": READING | {"severity": "Fine"}},
        {"prompt": None, **PROGRESS, "cleared": None},
        {"prompt": None, **PROGRESS, "cleared": {"strict": "1", "loose": 1}},
        {"prompt": None, **PROGRESS, "cleared": {"strict": -1, "loose": 1}},
        {"prompt": None, **PROGRESS, "violations": {"loose": None}},
        {"prompt": READING, **PROGRESS, "received": -1},
        {"prompt": READING | {"severity": "Unsafe"}, **PROGRESS},
        {"prompt": READING | {"probabilities": {"Safe": 1.0}}, **PROGRESS},
    ],
)
async def test_an_odd_reply_of_a_stream_is_a_missing_verdict_and_no_internal_error(reply: object) -> None:
    with serve(broken_server(reply)) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE)
        whole = await guard.judge(CONTEXT), await guard.judge([*CONTEXT, Turn("assistant", "It is so.")])
        watched, shown = await watch(guard, answer("It is so. " * 20))
        await guard.aclose()
    assert (watched.end, shown) == (End.WITHHELD, "")
    for verdict in (*whole, watched.verdict):
        assert not verdict.reached
        assert "bug" not in (verdict.problem or "")


async def test_another_kind_of_server_is_not_asked_for_streams(stub: StubGuard) -> None:
    with serve(stub.app) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE)
        assert not await guard.streams()
        await guard.aclose()


@pytest.mark.parametrize("page", [["?"], {}, {"object": "page"}, "welcome"])
async def test_a_server_that_answers_every_path_with_a_page_offers_no_streams(page: object) -> None:
    with serve(broken_server({}, offer=page)) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE)
        assert not await guard.streams()
        await guard.aclose()


@pytest.mark.parametrize("unsafe", [False, True])
async def test_interleaved_texts_are_each_judged_as_one(guard: Guard, unsafe: bool) -> None:
    thinking = Channel(0, Rank.REASONING, 0, "reasoning")
    words = ["calm ", "day ", "and ", *(["ba", "d ", "ba", "d "] if unsafe else []), "shore "]

    async def both() -> AsyncIterator[Piece]:
        for word in words:
            yield Piece(CONTENT, "sea ")
            yield Piece(thinking, word)
            await asyncio.sleep(0.05)

    watched, _ = await watch(guard, both())
    assert watched.end is (End.REFUSED if unsafe else End.COMPLETE)
