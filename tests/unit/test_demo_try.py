"""`make try` must notice every fault."""

from typing import Any

import pytest

from demo.chat_model.script import Script
from demo.chat_model.server import SCRIPT
from demo.try_conversations import CONVERSATIONS, find_faults
from demo.webui_client.host import Host
from demo.webui_client.protection import Protection
from demo.webui_client.visitor import Seen
from moderation.notices.notice import NoticeKind, Notices

SAFE, REFUSED, WITHHELD = CONVERSATIONS
GUARDED, FILTER = Protection.GUARDED, Protection.FILTER
PIPELINES, FUNCTIONS = Host.PIPELINES, Host.FUNCTIONS


def body(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def planned(prompt: str) -> str:
    return Script.load(SCRIPT).reply(body(prompt)).content


def notice(kind: NoticeKind) -> str:
    return Notices().text(kind, "How are you today?")


def seen(text: str, prompt: str = "", **more: Any) -> Seen:
    part = {"type": "output_text", "text": text}
    answer = {"content": text, "output": [{"type": "message", "content": [part]}]}
    return Seen("chat", prompt, answer | more)


def test_expected_results_have_no_fault() -> None:
    log = [body(SAFE.prompt), body(WITHHELD.prompt)]
    answer = planned(SAFE.prompt)
    assert find_faults(PIPELINES, FILTER, SAFE, seen(answer, SAFE.prompt), "Demo chat", log) == []
    assert find_faults(PIPELINES, FILTER, REFUSED, seen(notice(NoticeKind.PROMPT_REFUSED)), "New Chat", log) == []
    assert find_faults(PIPELINES, FILTER, WITHHELD, seen(notice(NoticeKind.ANSWER_WITHHELD)), "Demo chat", log) == []


def test_a_withheld_safe_answer_is_a_fault() -> None:
    found = find_faults(PIPELINES, FILTER, SAFE, seen(notice(NoticeKind.NOT_CHECKED)), "Demo chat", [body(SAFE.prompt)])
    assert "in place of" in "".join(found)


def test_a_prompt_that_reached_the_chat_model_in_any_request_is_a_fault() -> None:
    task = body(f"### Task:\nWrite a title for: {REFUSED.prompt}")
    found = find_faults(PIPELINES, FILTER, REFUSED, seen(notice(NoticeKind.PROMPT_REFUSED)), "New Chat", [task])
    assert found == ["the chat model got the unsafe prompt"]


def test_a_guarded_model_may_start_on_an_unsafe_prompt_but_must_get_a_safe_one() -> None:
    notice_shown = seen(notice(NoticeKind.PROMPT_REFUSED), REFUSED.prompt)
    assert find_faults(PIPELINES, GUARDED, REFUSED, notice_shown, "New Chat", [body(REFUSED.prompt)]) == []
    assert find_faults(PIPELINES, GUARDED, REFUSED, notice_shown, "New Chat", []) == []
    answer = seen(planned(SAFE.prompt), SAFE.prompt)
    assert find_faults(PIPELINES, GUARDED, SAFE, answer, "Demo chat", []) == ["the chat model did not get the prompt"]


@pytest.mark.parametrize(("title", "prompt"), [(REFUSED.prompt, ""), ("New Chat", REFUSED.prompt)])
def test_a_refused_prompt_in_the_sidebar_or_the_record_is_a_fault(title: str, prompt: str) -> None:
    found = find_faults(PIPELINES, FILTER, REFUSED, seen(notice(NoticeKind.PROMPT_REFUSED), prompt), title, [])
    assert len(found) == 1
    assert "holds the refused prompt" in found[0]


def test_an_unsafe_answer_left_in_either_field_is_a_fault() -> None:
    answer = seen(notice(NoticeKind.ANSWER_WITHHELD), content=planned(WITHHELD.prompt))
    found = find_faults(PIPELINES, FILTER, WITHHELD, answer, "Demo chat", [body(WITHHELD.prompt)])
    assert found == ["the page holds the answer that it must not show"]


def test_an_error_on_the_page_is_a_fault() -> None:
    answer = seen(planned(SAFE.prompt), error={"content": "Model not found"})
    assert "Model not found" in "".join(find_faults(PIPELINES, FILTER, SAFE, answer, "Demo chat", [body(SAFE.prompt)]))


def test_a_function_filter_refuses_with_an_error_and_is_not_asked_about_tasks() -> None:
    task = body(f"### Task:\nWrite a title for: {REFUSED.prompt}")
    refused = seen("", error={"content": notice(NoticeKind.PROMPT_REFUSED)})
    assert find_faults(FUNCTIONS, FILTER, REFUSED, refused, "Demo chat", [task]) == []
    silent = seen("", error={"content": "Something else"})
    assert "in place of" in "".join(find_faults(FUNCTIONS, FILTER, REFUSED, silent, "Demo chat", [task]))
    asked = find_faults(FUNCTIONS, FILTER, REFUSED, refused, "Demo chat", [body(REFUSED.prompt)])
    assert asked == ["the chat model got the unsafe prompt"]
