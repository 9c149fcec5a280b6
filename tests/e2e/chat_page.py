"""The chat page of Open WebUI 0.12.4 in the browser."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from demo.webui_client.webui_api import WebuiApi
from tests.e2e.recorder import Recorder
from tests.e2e.stored_chat import StoredChat
from tests.stands.waiting import wait_until


class ChatPage:
    """One user at one page. `api` is the same user's API client, to see when the server's work is complete."""

    def __init__(self, page: Page, api: WebuiApi) -> None:
        self.page = page
        self.api = api

    def record(self) -> None:
        """Record everything on the page from the next load on."""
        self.recorder = Recorder(self.page)

    def open(self, path: str = "/") -> None:
        self.page.goto(str(self.api.http.base_url.join(path)))
        expect(self.page.locator("#chat-input")).to_be_visible()

    def reload(self) -> None:
        self.page.reload()
        expect(self.answers.last).to_be_visible()

    def send(self, prompt: str) -> None:
        self.page.locator("#chat-input").fill(prompt)
        self.page.keyboard.press("Enter")

    def ask(self, prompt: str) -> StoredChat:
        """Sends the prompt and waits until the server's work is complete."""
        before = self.answers.count()
        self.send(prompt)
        return self.settled(answers=before + 1)

    def settled(self, answers: int) -> StoredChat:
        """The stored chat, once it has this number of answers, including those of other branches."""
        self.page.wait_for_url("**/c/*")
        return StoredChat.settled(self.api, self.chat_id, answers)

    def titled(self, title: str) -> None:
        """Waits until the chat has this title: Open WebUI makes the first one apart, and so perhaps later."""
        wait_until(lambda: StoredChat.read(self.api, self.chat_id).title == title)

    @property
    def chat_id(self) -> str:
        return self.page.url.rstrip("/").rsplit("/", 1)[-1]

    @property
    def prompts(self) -> Locator:
        return self.page.locator("#messages-container .user-message .markdown-prose")

    @property
    def answers(self) -> Locator:
        return self.page.locator("#messages-container #response-content-container")

    @property
    def follow_ups(self) -> Locator:
        """The questions that are offered below the last answer."""
        return self.page.locator("#messages-container").get_by_role("button", name="Follow up:")

    def turn(self, number: int) -> Locator:
        """One message with its buttons: 0 is the first, -1 the last."""
        turn = self.page.locator("#messages-container [role=listitem]").nth(number)
        turn.hover()
        return turn

    def regenerate(self) -> None:
        """Asks for another answer to the last prompt."""
        self.turn(-1).get_by_role("button", name="Regenerate").click()
        self.page.get_by_text("Try Again", exact=True).click()

    def edit(self, number: int, text: str, button: str) -> None:
        """Edits a message and presses this button: `Save`, or `Send` for a prompt."""
        turn = self.turn(number)
        turn.get_by_role("button", name="Edit", exact=True).click()
        turn.locator("textarea").fill(text)
        turn.get_by_role("button", name=button, exact=True).click()

    def proceed(self) -> None:
        """Lets the model continue its last answer."""
        self.turn(-1).get_by_role("button", name="Continue Response").click()

    def stop(self) -> None:
        """Presses Stop while an answer is written."""
        self.page.get_by_role("button", name="Stop", exact=True).click()

    def merge(self) -> Locator:
        """Lets the model merge several answers into one, and returns it."""
        self.page.locator("#merge-response-button").click()
        return self.page.locator("#messages-container .markdown-prose").last

    def screen(self) -> str:
        """Every text on the page: the chat, the sidebar, the title."""
        return self.page.locator("body").inner_text()

    def sidebar(self) -> list[str]:
        """The titles in the list of chats."""
        titles = self.page.locator("#sidebar-chat-item")
        expect(titles.first).to_be_visible()
        # The line below each title is the age of the chat.
        return [text.splitlines()[0] for text in titles.all_inner_texts()]
