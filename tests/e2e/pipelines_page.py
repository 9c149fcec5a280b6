"""Admin Panel > Settings > Pipelines of Open WebUI 0.12.4 in the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from demo.webui_client.webui_api import WebuiApi
from tests.e2e.saving import saved


class PipelinesPage:
    """The admin's actions. Valves are named as in the code: the page shows `timeout_seconds` as Timeout Seconds."""

    def __init__(self, page: Page, api: WebuiApi) -> None:
        self.page = page
        self.api = api

    def open(self) -> None:
        self.page.goto(str(self.api.http.base_url.join("/admin/settings/pipelines")))
        expect(self.page.locator("#pipelines-url")).to_be_visible()

    def upload(self, file: Path) -> None:
        self.page.locator("#pipelines-upload-input").set_input_files(file)
        self.page.get_by_role("button", name="Upload", exact=True).click()

    @property
    def listed(self) -> Locator:
        """The installed pipelines."""
        return self.page.locator("#pipeline option")

    def choose(self, label: str) -> None:
        self.page.locator("#pipeline").select_option(label=label)

    def valve(self, name: str) -> Locator:
        """The control of one valve: a text box, a drop-down or a switch."""
        label = self.page.locator("label", has_text=re.compile(f"^{name.replace('_', ' ').title()}$"))
        box = label.locator("xpath=ancestor::div[2]")
        return box.locator("input, select, [role=switch]")

    def set(self, name: str, value: Any) -> None:
        control = self.valve(name)
        if isinstance(value, bool):
            if self.value(name) != value:
                control.click()
        elif control.evaluate("control => control.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(str(value))

    def value(self, name: str) -> str | bool:
        control = self.valve(name)
        expect(control).to_be_visible()
        if control.get_attribute("role") == "switch":
            return control.get_attribute("aria-checked") == "true"
        return control.input_value()

    def save(self) -> None:
        with saved(self.page, "/valves/update"):
            self.page.get_by_role("button", name="Save", exact=True).click()
