"""Installing the Functions on Open WebUI's own pages, as docs/functions.md says."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from demo.stack.stack import UNSAFE_PROMPT
from demo.state import ROOT
from demo.webui_client.functions_host import FunctionsHost
from demo.webui_client.host import FUNCTION_FILTER, FUNCTION_MODELS
from demo.webui_client.visitor import Visitor
from demo.webui_client.webui_api import WebuiApi
from tests.e2e.chat_host import CHAT_HOSTS
from tests.e2e.chat_page import ChatPage
from tests.e2e.functions_page import FunctionsPage
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.screenshots import picture
from tests.e2e.texts import EN, UNSAFE
from tests.stands.chats import CALM

PLUGINS = (FUNCTION_FILTER, FUNCTION_MODELS)


@pytest.fixture
def without_functions(guarded: GuardedStack) -> Iterator[GuardedStack]:
    """Nothing is installed; at the end everything is as before."""
    functions = FunctionsHost(guarded.stack.admin)
    for plugin in PLUGINS:
        guarded.stack.admin.http.delete(f"/api/v1/functions/id/{plugin}/delete").raise_for_status()
    assert functions.known() == {}
    yield guarded
    for plugin in PLUGINS:
        functions.install(ROOT / f"dist/{plugin}.py")
        functions.set_valves(plugin, guarded.stack.setup.valves[plugin])


@pytest.mark.on("functions-filter")
def test_an_admin_pastes_both_files_and_users_are_protected(
    without_functions: GuardedStack, open_page: Callable[[WebuiApi], Page]
) -> None:
    guarded, stack = without_functions, without_functions.stack
    # Else an admin who comes for the first time is shown what is new in Open WebUI.
    stack.admin.post("/api/v1/users/user/settings/update", {"ui": {"showChangelog": False}})
    page = FunctionsPage(open_page(stack.admin), stack.admin)
    for plugin in PLUGINS:
        page.open("/create")
        page.paste(ROOT / f"dist/{plugin}.py")
        if plugin == FUNCTION_FILTER:
            picture(page.page, "functions-create")
        page.save()
    for plugin in PLUGINS:
        page.open_valves(plugin)
        for name, value in stack.setup.valves[plugin].items():
            page.set_valve(name, value)
            if (plugin, name) == (FUNCTION_FILTER, "guard_base_url"):
                picture(page.page, "functions-valves")
        page.save_valves()
        page.switch(plugin, on=True)
    page.make_global(FUNCTION_FILTER)
    picture(page.page, "functions-list")
    stored = {plugin: stack.plugins.valves(plugin) for plugin in PLUGINS}
    for plugin in PLUGINS:
        assert stored[plugin].items() >= stack.setup.valves[plugin].items()
    stack.plugins.check_filter(FUNCTION_FILTER)

    guarded.model.says(CALM + UNSAFE + CALM)
    for host in ("functions-filter", "functions-models"):
        visitor = Visitor(stack.user, CHAT_HOSTS[host].models[0])
        assert visitor.ask(guarded.prompt).text == EN["answer_withheld"]
        # A filter that is global refuses a prompt to a guarded model too.
        assert guarded.host.refusal(visitor.ask(UNSAFE_PROMPT)) == EN["prompt_refused"]


@pytest.mark.on("functions-filter")
def test_a_refused_prompt_shows_the_notice_and_the_chat_goes_on(guarded: GuardedStack, guarded_page: ChatPage) -> None:
    stored = guarded_page.ask(UNSAFE_PROMPT)
    # In the bar in which Open WebUI shows what a filter raised.
    notice = guarded_page.page.locator("#messages-container").get_by_text(EN["prompt_refused"])
    expect(notice).to_be_visible()
    picture(guarded_page.page, "function-refusal")
    assert stored.last("user")["content"] == EN["turn_removed"]
    guarded_page.page.reload()
    expect(notice).to_be_visible()
    expect(guarded_page.prompts).to_have_text([EN["turn_removed"]])
    guarded.model.says(CALM)
    guarded.model.requests.clear()
    guarded_page.ask(guarded.prompt)
    expect(guarded_page.answers.last).to_have_text(CALM.strip())
    assert UNSAFE_PROMPT not in str(guarded.model.requests)
