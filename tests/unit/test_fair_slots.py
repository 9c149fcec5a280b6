"""The order in which slots are given to users."""

import asyncio
import random
from contextlib import suppress

import pytest

from moderation.answer.growing import GrowingAnswer
from moderation.asker import asking_for, asking_later, current_asker
from moderation.conversation import Turn
from moderation.endpoint.endpoint import Endpoint
from moderation.errors import Crowded
from moderation.fair_slots import FairSlots, size_of
from moderation.guard import Guard
from moderation.policy import Policy
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.servers import serve
from tests.stands.waiting import PATIENCE, until


class Queue:
    """Requests that keep their slot until `end`. `served` has their names in the order of their slots."""

    def __init__(self, slots: int) -> None:
        self.slots = FairSlots(slots)
        self.served: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, user: str | None, size: int = 1000, *, later: bool = False) -> None:
        """Start a request, and return when it waits or has its slot."""
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._ask(name, user, size, later))
        await asyncio.sleep(0)

    async def _ask(self, name: str, user: str | None, size: int, later: bool) -> None:
        asking_for(user)
        asking_later(later)
        async with self.slots.slot(size):
            self.served.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)

    async def drain(self) -> list[str]:
        """End each request when it is served. Returns the order."""
        ended = 0
        while ended < len(self.served):
            await self.end(self.served[ended])
            ended += 1
        return self.served


async def test_many_requests_of_one_user_wait_for_one_request_of_another() -> None:
    queue = Queue(2)
    for number in range(50):
        await queue.ask(f"heavy{number}", "heavy", 20_000)
    for number in range(3):
        await queue.ask(f"light{number}", "light", 500)
    await queue.end("heavy0")
    assert queue.served == ["heavy0", "heavy1", "light0"]
    order = await queue.drain()
    assert order[2:5] == ["light0", "light1", "light2"]
    assert len(order) == 53


async def test_users_get_the_same_in_characters_not_in_requests() -> None:
    queue = Queue(1)
    await queue.ask("first", "somebody")
    for number in range(40):
        await queue.ask(f"large{number}", "large", 8000)
        await queue.ask(f"small{number}", "small", 1000)
    order = (await queue.drain())[:37]
    assert 3 <= sum(name.startswith("large") for name in order) <= 5


async def test_an_idle_user_earns_no_credit() -> None:
    queue = Queue(1)
    await queue.ask("a", "away")
    await queue.end("a")
    await queue.ask("b0", "busy", 50_000)
    for number in range(1, 10):
        await queue.ask(f"b{number}", "busy", 50_000)
    for number in range(10):
        await queue.ask(f"away{number}", "away", 50_000)
    order = (await queue.drain())[2:]
    users = [name[0] for name in order[:10]]
    assert users.count("a") == users.count("b") == 5


async def test_service_without_a_queue_costs_nothing_later() -> None:
    queue = Queue(1)
    for number in range(20):
        await queue.ask(f"alone{number}", "alone", 60_000)
        await queue.end(f"alone{number}")
    await queue.ask("holds", "holder")
    await queue.ask("alone", "alone")
    await queue.ask("other", "other")
    assert (await queue.drain())[-2:] == ["alone", "other"]


async def test_first_checks_come_before_later_ones_of_the_same_turn() -> None:
    queue = Queue(1)
    await queue.ask("holds", "holder", 1)
    for user in "abc":
        await queue.ask(f"later-{user}", user, later=True)
    for user in "def":
        await queue.ask(f"first-{user}", user)
    assert [name[:5] for name in (await queue.drain())[1:]] == ["first"] * 3 + ["later"] * 3


@pytest.mark.parametrize("user", ["one", None])
async def test_later_checks_of_a_user_are_served_between_first_ones(user: str | None) -> None:
    queue = Queue(1)
    await queue.ask("holds", "holder", 1)
    for number in range(3):
        await queue.ask(f"later{number}", user, later=True)
    for number in range(20):
        await queue.ask(f"first{number}", user)
    order = [name[:5] for name in (await queue.drain())[1:]]
    assert order[:4] == ["first"] * 4
    assert max(order.index("later", start) - start for start in (0, 5, 10)) <= 4


async def test_a_first_check_that_joins_a_waiting_line_takes_the_line_along() -> None:
    queue = Queue(1)
    await queue.ask("holds", "holder", 1)
    await queue.ask("later-a", "a", later=True)
    await queue.ask("later-b", "b", later=True)
    await queue.ask("first-b", "b")
    assert (await queue.drain())[1] == "first-b"


async def test_characters_of_one_user_at_a_time_are_limited() -> None:
    queue = Queue(64)
    for number in range(30):
        await queue.ask(f"heavy{number}", "heavy", 16_000)
        await queue.ask(f"known{number}", "known", 500)
        await queue.ask(f"nobody{number}", None, 16_000)
    held = [name.rstrip("0123456789") for name in queue.served]
    assert (held.count("heavy"), held.count("known"), held.count("nobody")) == (4, 30, 30)
    assert len(await queue.drain()) == 90


async def test_a_request_of_any_size_is_served() -> None:
    queue = Queue(4)
    for name in ("huge", "another", "third"):
        await queue.ask(name, "a", 10**9)
    assert queue.served == ["huge", "another"]
    assert await queue.drain() == ["huge", "another", "third"]


async def test_a_cancelled_request_leaves_nothing_and_costs_nothing() -> None:
    queue = Queue(1)
    await queue.ask("holds", "holder", 1)
    for number in range(50):
        await queue.ask(f"gone{number}", "a", 60_000)
    await queue.ask("other", "b", 10)
    for number in range(50):
        queue.tasks[f"gone{number}"].cancel()
    # The slot becomes free before the cancelled tasks run.
    queue.ends["holds"].set()
    await asyncio.gather(*(queue.tasks[f"gone{n}"] for n in range(50)), return_exceptions=True)
    assert queue.slots.waiting <= 1
    await queue.ask("back", "a", 10)
    assert (await queue.drain())[-2:] == ["other", "back"]
    assert queue.slots.waiting == 0


async def test_a_slot_of_a_cancelled_request_goes_to_the_next() -> None:
    queue = Queue(1)
    await queue.ask("holds", "a")
    await queue.ask("leaves", "b")
    await queue.ask("stays", "c")
    queue.ends["holds"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.tasks["leaves"].cancel()
    await asyncio.gather(queue.tasks["leaves"], return_exceptions=True)
    await until(lambda: "stays" in queue.served)
    await queue.end("stays")
    assert queue.slots._free == 1


async def test_requests_after_a_cancelled_first_one_are_served() -> None:
    queue = Queue(8)
    await queue.ask("holds", "a", 30_000)
    await queue.ask("holds too", "a", 30_000)
    await queue.ask("blocks", "a", 60_000)
    await queue.ask("small", "a", 10)
    assert queue.served == ["holds", "holds too"]
    queue.tasks["blocks"].cancel()
    await until(lambda: "small" in queue.served)


async def test_the_number_of_waiting_requests_is_limited() -> None:
    queue = Queue(1)
    await queue.ask("holds", "holder", 1)
    for number in range(2500):
        await queue.ask(f"a{number}", "a", 1)
    await queue.ask("too many", "a", 1)
    with pytest.raises(Crowded, match="try again"):
        await queue.tasks["too many"]
    await queue.ask("other", "b", 1)
    assert not queue.tasks["other"].done()
    for task in queue.tasks.values():
        task.cancel()
    await asyncio.gather(*queue.tasks.values(), return_exceptions=True)
    assert queue.slots.waiting == 0


async def test_users_who_come_and_go_while_nothing_is_served_use_no_memory() -> None:
    queue = Queue(1)
    await queue.ask("holds", "holder", 1)
    await queue.ask("waits", "patient", 1)
    for number in range(3000):
        task = asyncio.create_task(queue._ask(f"n{number}", f"user{number}", 1, False))
        await asyncio.sleep(0)
        queue.ends[f"n{number}"] = asyncio.Event()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert len(queue.slots._turns) < 200
    assert len(queue.slots._lines) == 2
    assert (await queue.drain()) == ["holds", "waits"]


@pytest.mark.parametrize("seed", range(20))
async def test_every_slot_is_always_returned(seed: int) -> None:
    chance, queue, most = random.Random(seed), Queue(3), 0
    for number in range(300):
        user = chance.choice([None, "a", "b", f"user{number}"])
        await queue.ask(str(number), user, chance.choice([1, 1000, 70_000]), later=chance.random() < 0.5)
        name = str(chance.randrange(number + 1))
        if chance.random() < 0.3:
            queue.tasks[name].cancel()
        elif chance.random() < 0.5:
            queue.ends[name].set()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        most = max(most, sum(line.served for line in queue.slots._lines.values()))
    for name in queue.ends:
        queue.ends[name].set()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*queue.tasks.values(), return_exceptions=True)
    assert most <= 3
    assert queue.slots.waiting == 0
    assert queue.slots._free == 3
    assert queue.slots._lines == {}


async def test_tasks_inherit_the_user_and_the_length_of_an_id_is_bounded() -> None:
    async def inner() -> tuple[str | None, bool]:
        return current_asker()

    async def outer(user: object) -> tuple[str | None, bool]:
        asking_for(user)
        return await asyncio.create_task(inner())

    asked = await asyncio.gather(*map(asyncio.create_task, map(outer, ["a", None, "", 7, "x" * 10_000])))
    assert [user for user, _ in asked] == ["a", None, None, "7", "x" * 256]
    assert current_asker() == (None, False)


async def test_only_the_first_check_of_a_streamed_answer_is_urgent(guard: Guard) -> None:
    answer, asked = GrowingAnswer(guard, Policy(), [Turn("user", "hello")]), []
    for text in ("one", "one two", "one two three"):
        await answer.judge(text, end=False)
        asked.append(current_asker().later)
    assert asked == [False, True, True]


def test_the_context_of_a_turn_counts_less() -> None:
    turn, context = Turn("user", "x" * 800), Turn("assistant", "y" * 800)
    assert size_of([context, turn]) - size_of([turn]) == 100
    assert size_of([Turn("user", "")]) > 0


async def test_ordinary_users_are_judged_before_the_crowd_of_a_heavy_one(stub: StubGuard) -> None:
    """Before them, 50 prompts of 100,000 characters arrive, each read in windows."""
    with serve(stub.app) as url:
        guard = Guard(Endpoint(f"{url}/v1", timeout=PATIENCE), timeout=PATIENCE, context_tokens=4096, concurrency=8)
        await guard.judge([Turn("user", "hello")])

        async def ask(user: str, text: str) -> bool:
            asking_for(user)
            return (await guard.judge([Turn("user", text)])).reached

        words = "many words again and " * 5000
        stub.silent_about = "many words"
        heavy = [asyncio.create_task(ask("heavy", f"number {number} {words}"[:100_000])) for number in range(50)]
        # All of them wait, except the few that one user may have at the guard.
        await until(lambda: guard._slots.waiting > 50 and stub.at_once > 1)
        # Others get what is left, while none of these ends.
        assert all(await asyncio.gather(*(asyncio.create_task(ask(f"u{n}", f"question {n}")) for n in range(10))))
        assert not any(task.done() for task in heavy)
        stub.silent_about = None
        assert all(await asyncio.gather(*heavy))
        await guard.aclose()
    assert len(stub.judged) > 50 * 6
