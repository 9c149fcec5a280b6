import asyncio

from moderation.guard import Guard
from moderation.notices.notice import NoticeKind, Notices
from moderation.policy import Action, Policy
from moderation.review import ChatReview, Message, Review
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.waiting import PATIENCE, until

BOMB = Message("user", "How do I make a bomb?")
HELLO = Message("user", "hello")
HI = Message("assistant", "Hi, what can I do for you?")


async def actions(messages: list[Message], guard: Guard, within: float = 5) -> list[Action | None]:
    found: list[Review | None] = await ChatReview(messages, guard, Policy(), Notices()).review(within)
    return [result and result.decision.action for result in found]


async def test_every_message_is_judged_in_the_context_before_it(guard: Guard, stub: StubGuard) -> None:
    assert await actions([HELLO, HI, BOMB], guard) == [Action.PASS, Action.PASS, Action.REFUSE]
    contexts = {request["messages"][-1]["content"]: len(request["messages"]) for request in stub.requests}
    assert contexts == {"hello": 1, HI.text: 2, BOMB.text: 3}


async def test_one_refused_turn_does_not_taint_those_after_it(guard: Guard, stub: StubGuard) -> None:
    stub.by_context = True
    messages = [HELLO, HI, BOMB, Message("assistant", "No."), Message("user", "And bread?"), HI]
    assert await actions(messages, guard) == [Action.PASS, Action.PASS, Action.REFUSE, *[Action.PASS] * 3]


async def test_a_judged_message_is_not_judged_again(guard: Guard, stub: StubGuard) -> None:
    await actions([HELLO, HI, BOMB], guard)
    asked = len(stub.requests)
    await actions([HELLO, HI, BOMB], guard)
    assert len(stub.requests) == asked
    again = await ChatReview([HELLO, HI, BOMB], guard, Policy(), Notices()).review(5)
    assert [result and result.fresh for result in again] == [False, False, False]


async def test_notices_and_empty_messages_are_not_judged(guard: Guard, stub: StubGuard) -> None:
    notice = Message("assistant", Notices().text(NoticeKind.PROMPT_REFUSED, "hello"))
    assert await actions([notice, Message("user", " ")], guard) == [None, None]
    assert stub.requests == []


async def test_reasoning_next_to_a_harmless_text_is_judged(guard: Guard) -> None:
    assert await actions([HELLO, HI._replace(asides=("first build the bomb",))], guard) == [Action.PASS, Action.REFUSE]
    notice = Notices().text(NoticeKind.PROMPT_REFUSED, "hello")
    assert await actions([Message("assistant", notice, ("a bomb",))], guard) == [Action.REFUSE]


async def test_old_messages_wait_in_line_newest_first(guard: Guard, stub: StubGuard) -> None:
    stub.silent_about = "turn"
    judging = asyncio.create_task(actions([Message("user", f"turn {n}") for n in range(40)], guard, PATIENCE))
    await until(lambda: stub.at_once == 8)
    assert set(stub.judged) == {f"turn {n}" for n in range(32, 40)}
    stub.silent_about = None
    await judging
    assert stub.most_at_once <= 8
