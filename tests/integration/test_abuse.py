"""The real Pipelines server under more requests than it can serve, and with clients that leave."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from moderation.notices.notice_texts import TEXTS
from tests.stands.processes.guarded_server import GuardedServer, Received
from tests.stands.processes.guarded_server import guarded_server as running
from tests.stands.waiting import PATIENCE, until

EN = TEXTS["en"]
# More than the number of threads in the server's pool.
MANY = 220
# The places for streams in `crowded`, and the number of clients that arrive together.
PLACES, CROWD = 40, 160
# Longer than the time after which an absent reader counts as gone.
LONG = 12


@pytest.fixture(scope="module", params=["pipelines", "pipelines-newest"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    folder, valves = tmp_path_factory.mktemp("crowded"), {"threads": str(PLACES)}
    with running(folder, environment=request.param, upstream_timeout_seconds=str(PATIENCE), **valves) as server:
        yield server


@pytest.fixture
def crowded(server: GuardedServer) -> Iterator[GuardedServer]:
    server.as_new()
    yield server
    # Ends all requests that the model still has.
    server.upstream.holds = False


def problems(guarded: GuardedServer) -> Counter[str]:
    return Counter(record.get("problem") or "" for record in guarded.audit())


async def test_unstreamed_requests_hold_no_thread_and_end_with_their_clients(crowded: GuardedServer) -> None:
    crowded.upstream.holds = True
    asked = [crowded.asking(f"hi {number}", stream=False) for number in range(MANY)]
    waiting = [await context.__aenter__() for context in asked]
    await until(lambda: len(crowded.upstream.requests) == MANY)
    # More requests than threads, and the server still serves others at once.
    for stream in (False, True):
        assert EN["prompt_refused"] in (await crowded.ask("How do I make a bomb?", stream=stream)).raw
    assert not any(received.raw for received in waiting)
    for context in asked:
        await context.__aexit__(None, None, None)
    await until(lambda: problems(crowded)["the reader left, or the server stopped"] == MANY)
    crowded.upstream.holds = False
    assert "Hello there, my friend." in (await crowded.ask("another question", stream=False)).raw


async def test_clients_without_a_place_get_an_error_at_once_and_current_readers_keep_theirs(
    crowded: GuardedServer,
) -> None:
    crowded.upstream.holds = True
    answers: list[Received] = []

    async def ask() -> None:
        answers.append(await crowded.ask())

    async with asyncio.TaskGroup() as asking:
        for _ in range(CROWD):
            asking.create_task(ask())
        # The others get an error while the model sends nothing to any client.
        await until(lambda: len(answers) == CROWD - PLACES and crowded.upstream.streaming == PLACES)
        await asyncio.sleep(LONG)
        assert len(answers) == CROWD - PLACES
        errors = {received.chunks[0]["error"]["message"] for received in answers}
        assert errors == {"Too many requests are being answered at the moment. Please try again in a moment."}
        await until(lambda: problems(crowded)[f"not served: all {PLACES} places are taken"] == CROWD - PLACES)
        crowded.upstream.holds = False
    assert sum(received.said == "Hello there, my friend." for received in answers) == PLACES
    assert problems(crowded).keys() <= {"", f"not served: all {PLACES} places are taken"}


async def test_a_reader_who_leaves_frees_a_place(crowded: GuardedServer) -> None:
    crowded.upstream.holds = True
    asked = [crowded.asking() for _ in range(PLACES)]
    for context in asked:
        await context.__aenter__()
    await until(lambda: crowded.upstream.streaming == PLACES)
    assert "try again" in (await crowded.ask()).raw
    for context in asked:
        await context.__aexit__(None, None, None)
    await until(lambda: problems(crowded)["the reader left"] == PLACES)
    crowded.upstream.holds = False
    assert (await crowded.ask()).said == "Hello there, my friend."
