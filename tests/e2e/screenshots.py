"""Pictures for the documentation, taken while the tests run: UPDATE_SCREENSHOTS=1 make test-e2e."""

import os

from playwright.sync_api import Page, expect

from demo.state import ROOT

FOLDER = ROOT / "docs/images"


def picture(page: Page, name: str) -> None:
    """Writes docs/images/NAME.png if the environment variable is set."""
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        page.mouse.move(640, 500)
        # Messages that appear and fade out do not belong in the picture.
        expect(page.locator("[data-sonner-toast]")).to_have_count(0)
        page.wait_for_timeout(1500)
        page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")
