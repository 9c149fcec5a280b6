"""Admin Panel > Functions of Open WebUI 0.12.4 in the browser."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from demo.webui_client.webui_api import WebuiApi
from tests.e2e.saving import saved
from tests.stands.waiting import wait_until

# What the browser does with what the admin copied.
_PASTE = """
(editor, text) => {
  const copied = new DataTransfer();
  copied.setData("text/plain", text);
  editor.dispatchEvent(new ClipboardEvent("paste", {clipboardData: copied, bubbles: true, cancelable: true}));
}
"""


class FunctionsPage:
    """What an admin does there. Valves are named as in the code: `guard_base_url` is shown as Guard Base Url."""

    def __init__(self, page: Page, api: WebuiApi) -> None:
        self.page = page
        self.api = api

    def open(self, path: str = "") -> None:
        self.page.goto(str(self.api.http.base_url.join(f"/admin/functions{path}")))

    def paste(self, file: Path) -> None:
        """Puts a file in the place of the example in the editor, which reads name, id and description from it."""
        editor = self.page.locator(".cm-content")
        editor.click()
        self.page.keyboard.press("ControlOrMeta+a")
        editor.evaluate(_PASTE, file.read_text(encoding="utf-8"))
        expect(self.page.get_by_label("Function ID")).to_have_value(file.stem)
        self.page.keyboard.press("ControlOrMeta+Home")

    def save(self) -> None:
        self.page.get_by_role("button", name="Save & Create").click()
        with saved(self.page, "/functions/create"):
            self.page.get_by_role("button", name="Confirm", exact=True).click()

    def row(self, plugin: str) -> Locator:
        """The line of one Function in the list."""
        link = self.page.locator(f'a[href="/admin/functions/edit?id={plugin}"]')
        return link.locator("xpath=ancestor::div[@role='presentation'][1]")

    def switch(self, plugin: str, *, on: bool) -> None:
        """Switches a Function on or off, and waits until Open WebUI has saved that."""
        self.row(plugin).get_by_role("switch").click()
        wait_until(lambda: self.api.get(f"/api/v1/functions/id/{plugin}")["is_active"] is on)

    def make_global(self, plugin: str) -> None:
        """A filter is on for every model then."""
        self.row(plugin).get_by_role("button", name="Function Menu").click()
        with saved(self.page, "/toggle/global"):
            self.page.get_by_text("Global", exact=True).locator("xpath=ancestor::div[2]").get_by_role("switch").click()

    def open_valves(self, plugin: str) -> None:
        self.row(plugin).get_by_role("button", name="Valves").click()
        expect(self.page.get_by_text("Guard Base Url", exact=True)).to_be_visible()

    def set_valve(self, name: str, value: str) -> None:
        """Gives a valve a value of its own, in place of its default."""
        title = self.page.get_by_text(re.compile(rf"^\s*{name.replace('_', ' ').title()}\s*$"))
        box = title.locator("xpath=ancestor::div[2]")
        box.get_by_role("button", name="Default").click()
        box.locator("textarea, input, select").fill(value)

    def save_valves(self) -> None:
        with saved(self.page, "/valves/update"):
            self.page.get_by_role("button", name="Save", exact=True).click()
        self.page.get_by_role("button", name="Close", exact=True).click()
