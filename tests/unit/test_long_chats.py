"""Chats of hundreds of turns: the cost of each new turn, and the handling of turns without a verdict."""

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moderation.guard import Guard
from moderation.notices.notice import Notices
from moderation.notices.notice_texts import TEXTS
from moderation.policy import Policy
from moderation.review import ChatReview, Message
from tests.stands.chats import USER, request
from tests.stands.guarded_models import complete, stream
from tests.stands.guards.stub_guard import StubGuard
from tests.stands.models.stub_model import StubModel
from tests.stands.plugins import Pipeline, audited, set_valves, started_filter
from tests.stands.waiting import PATIENCE
from webui.bodies import Body

EN = TEXTS["en"]
# The time for a whole chat.
SECONDS = 6
WORDS = {
    "English": "We walked along the shore until it was dark and talked about bread. ",
    "German": "Wir gingen am Ufer entlang, bis es dunkel war, und sprachen über Brötchen. ",
    "Chinese": "我们沿着海边散步，一直走到天黑，谈论怎样烤面包。",
}


def turns(count: int, words: str = WORDS["English"], length: int = 1000) -> list[Message]:
    return [Message("assistant" if n % 2 else "user", (f"{n} " + words * 40)[:length]) for n in range(count)]


def bodies(messages: list[Message]) -> list[Body]:
    return [{"role": message.role, "content": message.text} for message in messages]


async def reviewed(guard: Guard, messages: list[Message], within: float = PATIENCE) -> list[str | None]:
    found = await ChatReview(messages, guard, Policy(), Notices()).review(within)
    return [one and one.decision.action for one in found]


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
async def test_a_new_turn_of_a_long_chat_is_one_check(guard: Guard, stub: StubGuard, words: str) -> None:
    stub.limit = 32_768
    await reviewed(guard, turns(120, words))
    assert len(stub.requests) == 120
    for count in range(121, 141):
        assert await reviewed(guard, turns(count, words)) == ["pass"] * count
        assert len(stub.requests) == count
    assert stub.tokenized == 0


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
async def test_the_guards_prompt_has_the_same_beginning_for_many_turns(
    guard: Guard, stub: StubGuard, words: str
) -> None:
    stub.limit = 8_192
    starts = []
    for count in range(1, 90):
        await reviewed(guard, turns(count, words))
        starts.append(stub.requests[-1]["messages"][0]["content"].split()[0])
    lasting = [len(list(same)) for _, same in itertools.groupby(starts)]
    assert len(lasting) > 2
    # Without the last one, which is not complete yet.
    assert min(lasting[:-1]) >= 3
    assert stub.tokenized == 0


async def test_a_context_with_more_tokens_than_estimated_is_cut_again(guard: Guard, stub: StubGuard) -> None:
    """First words, each one token by the guard's count; then punctuation, with one token per character."""
    stub.limit = 3_000
    messages = turns(12)
    for count in range(1, 13):
        await reviewed(guard, messages[:count])
    messages += [Message("user", "? " * 700), Message("assistant", "! " * 600)]
    assert await reviewed(guard, messages) == ["pass"] * 14
    messages += [Message("user", "How do I make a bomb? " + "? " * 700)]
    assert (await reviewed(guard, messages))[-1] == "refuse"


async def test_after_a_refusal_the_rest_of_the_chat_is_cached_in_its_new_context(guard: Guard, stub: StubGuard) -> None:
    messages = turns(20)
    messages[5] = Message("user", "How do I make a bomb?")
    assert (await reviewed(guard, messages)).count("refuse") == 1
    asked = len(stub.requests)
    assert (await reviewed(guard, messages)).count("refuse") == 1
    assert len(stub.requests) == asked


async def test_turns_not_judged_in_time_are_withheld_and_judged_next_time(guard: Guard, stub: StubGuard) -> None:
    messages = [*turns(59, "old words "), Message("assistant", "A new turn.")]
    stub.silent_about = "old"
    assert await reviewed(guard, messages, within=SECONDS) == [*["withhold"] * 59, "pass"]
    stub.silent_about = None
    assert await reviewed(guard, messages) == ["pass"] * 60
    # Nothing was judged twice.
    assert len(stub.requests) == 60


class SlowGuard:
    """Gives no verdict on most of a chat's earlier turns in time."""

    def __init__(self, stub: StubGuard) -> None:
        self._stub = stub
        self.messages = bodies(turns(60, length=80))

    def begin(self) -> None:
        # Eight are judged at a time: about half of them in time, and the newest at once.
        self._stub.delay, self._stub.slow_about = SECONDS / 4, "walked along the shore"


@pytest.fixture
def slow(stub: StubGuard) -> SlowGuard:
    return SlowGuard(stub)


@pytest.fixture
async def filter_pipeline(guard_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with started_filter(guard_url, tmp_path, timeout_seconds=SECONDS) as pipeline:
        yield pipeline


async def test_the_filter_says_what_could_not_be_checked(filter_pipeline: Any, slow: SlowGuard, tmp_path: Path) -> None:
    slow.begin()
    metadata = {"chat_id": "c", "message_id": "a1", "variables": {"{{USER_LANGUAGE}}": "en-US"}}
    messages = [*slow.messages, {"role": "user", "content": "And now?"}]
    sent = await filter_pipeline.inlet({"model": "m", "messages": [*map(dict, messages)], "metadata": metadata}, USER)
    contents = [message["content"] for message in sent["messages"]]
    left_out = contents.count(EN["turn_unchecked"])
    assert left_out > 10
    assert EN["turn_removed"] not in contents
    assert contents[-1] == "And now?"
    stored = [{"id": str(n), **message} for n, message in enumerate(messages)]
    answer = {"id": "a1", "role": "assistant", "content": "Now comes the bread."}
    body = await filter_pipeline.outlet({"model": "m", "chat_id": "c", "id": "a1", "messages": [*stored, answer]}, USER)
    assert body["messages"][-1]["content"] == f"Now comes the bread.\n\n[{EN['some_unchecked']}]"
    # Nothing of the stored chat is lost.
    assert [message["content"] for message in body["messages"][:-1]] == [message["content"] for message in messages]
    records = await audited(filter_pipeline, tmp_path)
    unjudged = [record for record in records if record.get("action") == "withhold"]
    assert len(unjudged) >= left_out
    assert {(record["direction"], f"not judged within {SECONDS} s" in record["problem"]) for record in unjudged} == {
        ("history", True)
    }


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_guarded_model_says_what_could_not_be_checked(
    pipeline: Any, model: StubModel, slow: SlowGuard, streamed: bool
) -> None:
    await set_valves(pipeline, timeout_seconds=SECONDS)
    slow.begin()
    messages = [*slow.messages, {"role": "user", "content": "And now?"}]
    if streamed:
        said = (await stream(pipeline, request(*messages))).said()
    else:
        said = (await complete(pipeline, *messages))["choices"][0]["message"]["content"]
    assert said.startswith(f"[{EN['some_unchecked']}]\n\n")
    assert len(said) > len(EN["some_unchecked"]) + 4
    sent = [message["content"] for message in model.requests[-1]["messages"]]
    assert sent.count(EN["turn_unchecked"]) > 10
    assert EN["turn_removed"] not in sent


async def test_a_reply_in_a_required_format_has_no_note_before_it(pipeline: Any, slow: SlowGuard) -> None:
    await set_valves(pipeline, timeout_seconds=SECONDS)
    slow.begin()
    reply = await complete(pipeline, *slow.messages, response_format={"type": "json_object"})
    assert EN["some_unchecked"] not in json.dumps(reply)


async def test_the_note_is_in_the_language_that_the_reader_set(filter_pipeline: Any) -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "bomb 123"}],
        "metadata": {"variables": {"{{USER_LANGUAGE}}": "de-DE"}},
    }
    sent = await filter_pipeline.inlet(body, USER)
    assert TEXTS["de"]["prompt_refused"] in json.dumps(sent, ensure_ascii=False)
