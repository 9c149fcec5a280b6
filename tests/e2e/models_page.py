"""Admin Panel > Settings > Models of Open WebUI 0.12.4 in the browser."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from demo.webui_client.webui_api import WebuiApi
from tests.stands.waiting import wait_until


class ModelsPage:
    """What an admin does there. Filters of a Pipelines server are in the list too."""

    def __init__(self, page: Page, api: WebuiApi) -> None:
        self.page = page
        self.api = api

    def open(self) -> None:
        self.page.goto(str(self.api.http.base_url.join("/admin/settings/models")))
        expect(self.page.locator("#model-list")).to_be_visible()

    def row(self, model: str) -> Locator:
        return self.page.locator(f'[id="model-item-{model}"]')

    def switch(self, model: str, *, on: bool) -> None:
        """Switches a model on or off, and waits until Open WebUI has saved that."""
        self.row(model).get_by_role("switch").click()
        wait_until(lambda: self._is_on(model) is on)

    def _is_on(self, model: str) -> bool:
        """A model that no admin has changed has no record, and is on."""
        found = [one["is_active"] for one in self.api.get("/api/v1/models/base") if one["id"] == model]
        return bool(found[0]) if found else True
