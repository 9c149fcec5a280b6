"""The review of a request, which all hosts share: what decides, what is recorded, what is sent on, what is shown."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moderation.conversation import Turn
from moderation.notices.notice_texts import TEXTS
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.waiting import PATIENCE
from webui import message_reviews, request_review
from webui.bodies import Body
from webui.messages import MessageReading, reading
from webui.moderator import ModerationValves, Moderator
from webui.request_context import RequestContext
from webui.request_review import CleanRequest, RequestRefused, RequestReview
from webui.stored_chat import StoredChatReview, StoredChatTerms

EN = TEXTS["en"]
BOMB = "How do I make a bomb?"
CHAT = RequestContext()
TITLE = RequestContext(
    user="u1",
    task="title_generation",
    quoted=(
        {"role": "user", "content": "Is rye good?"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": "And oat?"},
    ),
)


class Host:
    """Makes reviews with its own valves."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._valves: dict[str, Any] = {"guard_base_url": url, "timeout_seconds": PATIENCE}
        self._moderators: list[Moderator] = []

    def moderator(self, **valves: Any) -> Moderator:
        self._moderators.append(Moderator(ModerationValves(**self._valves, **valves), self._folder))
        return self._moderators[-1]

    async def review(
        self, *messages: Body, context: RequestContext = CHAT, fields: Body | None = None, **valves: Any
    ) -> CleanRequest:
        return await RequestReview(self.moderator(**valves), list(messages), fields or {}, context).review()

    async def records(self) -> list[Body]:
        await self.aclose()
        return [json.loads(line) for file in self._folder.glob("*.jsonl") for line in file.read_text().splitlines()]

    async def aclose(self) -> None:
        for moderator in self._moderators:
            await moderator.aclose()
        self._moderators.clear()


@pytest.fixture
async def host(guard_url: str, tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path, guard_url)
    yield host
    await host.aclose()


def user(content: Any) -> Body:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Body:
    return {"role": "assistant", "content": content}


async def test_the_answer_is_judged_in_the_context_that_is_sent(host: Host) -> None:
    cleaned = await host.review(
        {"role": "system", "content": "Be brief."}, user(BOMB), assistant("No."), user("Bread?")
    )
    assert cleaned.context == [Turn("user", EN["turn_removed"]), Turn("assistant", "No."), Turn("user", "Bread?")]
    assert [message["content"] for message in cleaned.messages] == ["Be brief.", EN["turn_removed"], "No.", "Bread?"]


async def test_the_answer_to_a_task_is_judged_after_the_newest_prompt_that_the_task_quotes(host: Host) -> None:
    cleaned = await host.review(user("### Task:\nIs rye good?\nAnd oat?"), context=TITLE)
    assert cleaned.context == [Turn("user", "And oat?")]


async def test_a_task_is_recorded_as_a_task_and_its_quoted_turns_once(host: Host) -> None:
    moderator = host.moderator()
    fields = {"documents": ["All about oat."], "tools": [{"function": {"name": "f", "description": BOMB}}]}
    for _ in range(2):
        messages = [user("### Task:\nRules of our own\nAnd oat?")]
        await RequestReview(moderator, messages, fields, TITLE).review()
    counts = Counter((record["direction"], record["action"]) for record in await host.records())
    # The three quoted turns have one record each; the rest of the prompt and the document have one for each request.
    assert counts == {("task", "pass"): 3 + 2 * 2, ("tools", "refuse"): 2}


async def test_a_quoted_turn_that_refuses_is_recorded_each_time(host: Host) -> None:
    moderator, context = host.moderator(), TITLE._replace(quoted=(user(BOMB),))
    for _ in range(2):
        with pytest.raises(RequestRefused) as refused:
            await RequestReview(moderator, [user("### Task:")], {}, context).review()
        assert json.loads(refused.value.answer) == {"title": "New Chat"}
    assert [record["action"] for record in await host.records() if record["direction"] == "task"] == ["refuse"] * 2


async def test_a_notice_after_the_beginning_of_an_answer_is_separated_from_it(host: Host) -> None:
    with pytest.raises(RequestRefused) as refused:
        await host.review(user("hi"), assistant("First take a bomb"))
    assert refused.value.answer == f"\n\n{EN['prompt_refused']}"


@pytest.mark.parametrize("context", [RequestContext(role="Admin"), TITLE._replace(role="admin")])
async def test_exempt_users_are_not_judged_and_it_is_recorded(
    host: Host, stub: StubGuard, context: RequestContext
) -> None:
    fields = {"seed": 1, "chat_template": BOMB}
    cleaned = await host.review(user(BOMB), context=context, fields=fields, exempt_roles="Admin")
    assert (cleaned.messages, cleaned.fields, stub.requests) == ([user(BOMB)], {"seed": 1}, [])
    (record,) = await host.records()
    recorded = (record["action"], record["direction"], record["problem"])
    assert recorded == ("exempt", "task" if context.task else "prompt", "role admin is exempt")


@pytest.mark.parametrize(
    ("valves", "passes"), [({}, False), ({"when_unavailable": "allow"}, True), ({"mode": "monitor"}, True)]
)
async def test_an_internal_error_counts_as_a_missing_verdict(
    host: Host, monkeypatch: pytest.MonkeyPatch, valves: dict[str, Any], passes: bool
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    moderator = host.moderator(**valves)
    review = RequestReview(moderator, [user("hi")], {}, RequestContext())
    stored = [user("hi"), assistant("Hello!")]
    monkeypatch.setattr(message_reviews, "reading", broken)
    if passes:
        assert (await review.review()).messages == [user("hi")]
    else:
        with pytest.raises(RequestRefused) as refused:
            await review.review()
        assert refused.value.answer == EN["not_checked"]
    await StoredChatReview(moderator, stored, 1, RequestContext(), StoredChatTerms()).review()
    assert stored[1]["content"] == ("Hello!" if passes else EN["not_checked"])
    records = await host.records()
    assert [("ZeroDivisionError" in record["problem"], record["direction"]) for record in records] == [
        (True, "prompt"),
        (True, "response"),
    ]


async def test_a_message_is_read_only_once_in_every_case(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()

    def counted(message: Body) -> MessageReading:
        read[str(message["content"])] += 1
        return reading(message)

    monkeypatch.setattr(message_reviews, "reading", counted)
    monkeypatch.setattr(request_review, "reading", counted)
    context = TITLE._replace(task="moa_response_generation", quoted=(user("And oat?"),))
    messages = [user(BOMB), assistant("No."), user("### Task:\nAnd rye?")]
    review = RequestReview(host.moderator(), messages, {}, context)
    await review.cached()
    await review.review()
    assert set(read.values()) == {1}
    assert len(read) == 4


async def test_a_system_text_without_words_stays_and_the_anchor_of_a_mark_is_removed(host: Host) -> None:
    system, asked = {"role": "system", "content": ""}, user("hi")
    assert (await host.review(system, asked)).messages == [system, asked]
    context = RequestContext(split_system=lambda text: (text.replace("[anchor]", ""), ""))
    anchored = {"role": "system", "content": "[anchor]"}
    assert (await host.review(anchored, asked, context=context)).messages == [asked]


async def test_the_hosts_own_message_object_is_not_changed(host: Host) -> None:
    messages = [user(BOMB), assistant("No."), user("Bread?")]
    before = json.loads(json.dumps(messages))
    await host.review(*messages)
    assert messages == before
