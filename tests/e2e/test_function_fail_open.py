"""What can go wrong with Functions in Open WebUI, and whether unjudged text passes then (table: docs/functions.md).

A test `test_gap_…` shows that it passes, and what closes that: guarded models with `require_filter`.
"""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.state import ROOT
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import FUNCTION_FILTER, FUNCTION_MODELS, Host
from demo.webui_client.protection import Protection
from moderation.probe import PROBE_ANSWER
from tests.e2e.chat_host import CHAT_MODELS
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.protection_check import SEEN_BY_A_FILTER, check
from tests.e2e.restarting import restarted
from tests.e2e.stored_chat import holds
from tests.e2e.texts import EN, UNSAFE
from tests.stands.chats import BOMB, CALM, user
from tests.stands.waiting import PATIENCE, wait_until

DIRECT, GUARDED = CHAT_MODELS[0], f"{FUNCTION_MODELS}.{CHAT_MODELS[0]}"
# Another filter, in its place among the filters.
OTHER = """
import os


class Filter:
    class Valves:
        priority = {priority}

    def __init__(self):
        self.valves = self.Valves()

    async def {hook}(self, {argument}):
        {does}
        return {argument}
"""
# Fails in the first process that loads it.
FAILS_ONCE = """
import os as _os
try:
    _os.mkdir({mark!r})
except FileExistsError:
    pass
else:
    raise ImportError("provoked")
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    """Direct models with the filter, and guarded models that need it."""
    with GuardedStack.running(tmp_path_factory.mktemp("own"), Protection.BOTH, Host.FUNCTIONS) as own:
        own.stack.set_valves(FUNCTION_MODELS, require_filter=FUNCTION_FILTER)
        yield own


@pytest.fixture
def guarded(own: GuardedStack) -> GuardedStack:
    own.as_new()
    own.model.says(CALM)
    return own


@contextmanager
def other_filter(guarded: GuardedStack, does: str, *, priority: int, hook: str = "inlet") -> Iterator[None]:
    """A second filter that is on for every model, for a while."""
    functions, argument = FunctionsHost(guarded.stack.admin), "event" if hook == "stream" else "body"
    path = guarded.stack.state.folder / "other.py"
    path.write_text(OTHER.format(priority=priority, hook=hook, argument=argument, does=does))
    functions.install(path)
    try:
        yield
    finally:
        guarded.stack.admin.http.delete("/api/v1/functions/id/other/delete").raise_for_status()


def ask(guarded: GuardedStack, prompt: str, model: str = DIRECT) -> httpx.Response:
    """On a connection of its own, so that any worker may get it."""
    body = {"model": model, "stream": True, "messages": [user(prompt)]}
    headers = {"Authorization": f"Bearer {guarded.stack.user_token}"}
    url = f"{guarded.stack.webui_url}/api/chat/completions"
    return httpx.post(url, json=body, headers=headers, timeout=PATIENCE, trust_env=False)


def is_off(guarded: GuardedStack) -> bool:
    return not FunctionsHost(guarded.stack.admin).known()[FUNCTION_FILTER]["is_active"]


def switch_on(guarded: GuardedStack) -> None:
    FunctionsHost(guarded.stack.admin).install(ROOT / f"dist/{FUNCTION_FILTER}.py")


def passes_unjudged(guarded: GuardedStack) -> bool:
    """Whether an unsafe prompt to a direct model passes; to a guarded one it must not."""
    closed = ask(guarded, guarded.prompt, GUARDED)
    assert CALM[:20] not in closed.text
    guarded.model.requests.clear()
    answer = ask(guarded, BOMB)
    return answer.is_success and holds(guarded.model.requests, BOMB)


def write_source(guarded: GuardedStack, source: str) -> None:
    """Changes the filter's source in the database, as whatever breaks an installed file does."""
    with closing(sqlite3.connect(guarded.stack.state.webui / "webui.db", timeout=PATIENCE)) as database, database:
        database.execute("UPDATE function SET content = ? WHERE id = ?", (source, FUNCTION_FILTER))


def test_both_functions_protect_while_nothing_is_wrong(guarded: GuardedStack) -> None:
    assert ask(guarded, BOMB).json() == {"detail": EN["prompt_refused"]}
    assert holds(ask(guarded, BOMB, GUARDED).text, EN["prompt_refused"])
    for model in (DIRECT, GUARDED):
        assert ask(guarded, guarded.prompt, model).text.count("data: {") > 1


def test_gap_a_filter_that_is_switched_off_judges_nothing(guarded: GuardedStack) -> None:
    FunctionsHost(guarded.stack.admin).switch(FUNCTION_FILTER, active=False)
    assert passes_unjudged(guarded)
    # In plain words, for the user and the admin.
    assert holds(ask(guarded, guarded.prompt, GUARDED).text, "filter")
    switch_on(guarded)
    assert ask(guarded, BOMB).json() == {"detail": EN["prompt_refused"]}


@pytest.mark.parametrize("hook", ["inlet", "request"])
def test_a_filter_before_ours_that_fails_lets_nothing_pass(guarded: GuardedStack, hook: str) -> None:
    with other_filter(guarded, "raise RuntimeError('provoked')", priority=0, hook=hook):
        answer = ask(guarded, guarded.prompt)
    assert (answer.status_code, guarded.asked) == (400, [])


def test_gap_a_filter_after_ours_changes_what_was_judged(guarded: GuardedStack) -> None:
    does = f"body['messages'][-1]['content'] = {BOMB!r}"
    with other_filter(guarded, does, priority=2_000_000, hook="request"):
        assert ask(guarded, guarded.prompt).is_success
    assert holds(guarded.model.requests, BOMB)


def test_gap_without_functions_the_direct_models_go_on(guarded: GuardedStack) -> None:
    with restarted(guarded.stack, ENABLE_FUNCTIONS="false"):
        # Open WebUI knows no guarded model then.
        assert not ask(guarded, guarded.prompt, GUARDED).is_success
        assert ask(guarded, BOMB).is_success
    assert holds(guarded.model.requests, BOMB)


def test_gap_a_file_that_does_not_load_at_a_start_is_off_for_good(guarded: GuardedStack) -> None:
    write_source(guarded, "raise ImportError('provoked')")
    with restarted(guarded.stack):
        assert passes_unjudged(guarded)
        assert is_off(guarded)
        switch_on(guarded)
        assert ask(guarded, BOMB).json() == {"detail": EN["prompt_refused"]}


def test_gap_several_workers_share_all_and_one_that_cannot_load_switches_the_filter_off(
    guarded: GuardedStack, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    does = f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')"
    with restarted(guarded.stack, UVICORN_WORKERS="2"):
        with other_filter(guarded, does, priority=0):

            def answers_of_all(prompt: str) -> set[str]:
                """What both workers answer. Together, so that not one of them gets all requests."""
                pids.write_text("")
                found: set[str] = set()

                def both_answered() -> bool:
                    with ThreadPoolExecutor() as threads:
                        replies = list(threads.map(lambda _: ask(guarded, prompt), range(4)))
                    found.update(str(reply.json()["detail"]) for reply in replies)
                    return len(set(pids.read_text().split())) == 2

                wait_until(both_answered)
                return found

            before = len(guarded.stack.audit())
            assert answers_of_all(BOMB) == {EN["prompt_refused"]}
            asked = len(pids.read_text().split())
            with guarded.valves(FUNCTION_FILTER, notice_prompt="Not today."):
                assert answers_of_all(BOMB) == {"Not today."}
                asked += len(pids.read_text().split())
            wait_until(lambda: len(prompts(guarded, before)) == asked)
            guarded.model.says(CALM + UNSAFE)
            with guarded.valves(FUNCTION_MODELS, notice_answer="Not this."):
                pids.write_text("")

                def both_withhold() -> bool:
                    with ThreadPoolExecutor(4) as threads:
                        answers = list(threads.map(lambda _: ask(guarded, guarded.prompt, GUARDED).text, range(4)))
                    assert all("Not this." in answer for answer in answers)
                    return len(set(pids.read_text().split())) == 2

                wait_until(both_withhold)
            guarded.model.says(PROBE_ANSWER)
            checked = check(guarded.stack, tmp_path / "token")
            assert checked.failed_settings() == {}
            for model in (DIRECT, GUARDED):
                states = checked.states(model)
                assert {states[path] for path in SEEN_BY_A_FILTER} == {"protected"}, model
            guarded.model.says(CALM)
        source = (ROOT / f"dist/{FUNCTION_FILTER}.py").read_text()
        write_source(guarded, FAILS_ONCE.format(mark=str(tmp_path / "failed")) + source)
        answers = [ask(guarded, BOMB) for _ in range(8)]
        assert is_off(guarded)
        assert [answer.status_code for answer in answers].count(200) > 0
        assert passes_unjudged(guarded)


def prompts(guarded: GuardedStack, since: int) -> list[dict[str, Any]]:
    """The records of prompts. A line that is not whole raises."""
    return [record for record in guarded.stack.audit()[since:] if record["direction"] == "prompt"]
