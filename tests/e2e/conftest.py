"""The stacks and one browser for all end-to-end tests, and the hosts that a test runs over."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from demo.stack.stack import Stack
from demo.state import ROOT
from demo.webui_client.host import FILTER, Host
from demo.webui_client.protection import Protection
from demo.webui_client.visitor import Visitor
from demo.webui_client.webui_api import WebuiApi
from tests.e2e.chat_host import CHAT_HOSTS
from tests.e2e.chat_page import ChatPage
from tests.e2e.chat_tasks import wait_for_tasks
from tests.e2e.guarded_stack import GuardedStack
from tests.e2e.plain_webui import PlainWebui
from tests.e2e.texts import CHAT_MODELS
from tests.stands.servers import free_ports
from tests.stands.waiting import PATIENCE


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs over guarded models in the Pipelines server, or over the hosts that its mark `on` names."""
    if "guarded_stack" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("on")
        hosts = mark.args if mark else ("pipelines",)
        metafunc.parametrize("guarded_stack", hosts, indirect=True, scope="session")


expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The filter only, with models that Open WebUI is connected to directly."""
    folder = ROOT / ".run/e2e"
    stack = Stack(
        folder, ports=free_ports(), fresh=True, chat_models=CHAT_MODELS, protection=Protection.FILTER, say=print
    )
    # A busy machine is no reason to go on without the filter, as Open WebUI does if its Pipelines server lists nothing
    # for ten seconds, or to withhold a turn.
    stack.processes.children["webui"].environment["AIOHTTP_CLIENT_TIMEOUT_MODEL_LIST"] = f"{PATIENCE:.0f}"
    with stack:
        stack.set_valves(FILTER, timeout_seconds=PATIENCE)
        yield stack


# Not for the session: while Playwright runs, it has a running event loop, which disturbs other folders' tests.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"no browser: one of {', '.join(names)} must be on the PATH; `make test-e2e` installs it on Debian"
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield browser
        browser.close()


def signed_in(browser: Browser, api: WebuiApi) -> BrowserContext:
    """A new browser, signed in with an account's token."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
    context.set_default_timeout(PATIENCE * 1000)
    stored = {"token": api.token, "sidebar": "true"}
    lines = [f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)})" for key, value in stored.items()]
    context.add_init_script(";".join(lines))
    return context


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[WebuiApi], Page]]:
    """Opens a window in a new browser."""
    contexts = []

    def open_page(api: WebuiApi) -> Page:
        contexts.append(signed_in(browser, api))
        return contexts[-1].new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def chat_page(stack: Stack, open_page: Callable[[WebuiApi], Page]) -> ChatPage:
    """The chat page of the ordinary user, who has no chats yet; the chat model's log is empty."""
    wait_for_tasks(stack.admin)
    stack.clear_chat_log()
    stack.user.http.delete("/api/v1/chats/").raise_for_status()
    page = ChatPage(open_page(stack.user), stack.user)
    page.open()
    return page


@pytest.fixture
def visitor(stack: Stack) -> Visitor:
    """The ordinary user without a browser."""
    wait_for_tasks(stack.admin)
    stack.clear_chat_log()
    return Visitor(stack.user, CHAT_MODELS[0])


@pytest.fixture
def valves(stack: Stack) -> Iterator[Callable[..., None]]:
    """Sets valves of the filter for one test."""
    path = f"/api/v1/pipelines/{FILTER}/valves"
    before = stack.admin.get(path, urlIdx=1)
    yield partial(stack.set_valves, FILTER)
    stack.admin.post(f"{path}/update?urlIdx=1", before)


@pytest.fixture(scope="session")
def pipelines_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    """Guarded models as the only connection, between a stub guard and a stub model."""
    with GuardedStack.running(tmp_path_factory.mktemp("guarded")) as guarded:
        yield guarded


@pytest.fixture(scope="session")
def functions_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    """Both Functions in one Open WebUI, between a guard and a model that do as they are told."""
    folder = tmp_path_factory.mktemp("functions")
    with GuardedStack.running(folder, Protection.BOTH, Host.FUNCTIONS) as guarded:
        yield guarded


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainWebui]:
    """An Open WebUI with nothing of ours, and a Pipelines server without plugins."""
    with PlainWebui.running(tmp_path_factory.mktemp("plain")) as plain:
        # Else an admin who comes for the first time is shown what is new in Open WebUI.
        plain.admin.post("/api/v1/users/user/settings/update", {"ui": {"showChangelog": False}})
        yield plain


@pytest.fixture(scope="session")
def guarded_stack(request: pytest.FixtureRequest) -> GuardedStack:
    """The servers of one host."""
    host = CHAT_HOSTS[request.param]
    stack: GuardedStack = request.getfixturevalue(f"{host.host}_stack")
    stack.use(host)
    return stack


@pytest.fixture
def guarded(guarded_stack: GuardedStack) -> GuardedStack:
    """The same, with the stubs reset."""
    return guarded_stack.settled()


@pytest.fixture(scope="package")
def guarded_browser(browser: Browser, guarded_stack: GuardedStack) -> Iterator[BrowserContext]:
    """The ordinary user's browser. All tests share it, so that it has loaded the page before."""
    with signed_in(browser, guarded_stack.stack.user) as context:
        yield context


@pytest.fixture
def guarded_window(guarded: GuardedStack, guarded_browser: BrowserContext) -> Iterator[ChatPage]:
    """A window of the ordinary user, who has no chats yet, recorded from its beginning."""
    user = guarded.stack.user
    user.http.delete("/api/v1/chats/").raise_for_status()
    with guarded_browser.new_page() as window:
        page = ChatPage(window, user)
        page.record()
        yield page


@pytest.fixture
def guarded_page(guarded: GuardedStack, guarded_window: ChatPage) -> ChatPage:
    """The same with the page for a new chat."""
    guarded_window.open()
    chosen = f"Selected model: {guarded.host.model_name}"
    expect(guarded_window.page.get_by_role("button", name=chosen)).to_be_visible()
    return guarded_window
