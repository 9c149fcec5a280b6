"""Pictures for the documentation, taken while the tests run: UPDATE_SCREENSHOTS=1 make test-e2e."""

import io
import os

from playwright.sync_api import Browser, Page, expect
from rich.console import Console
from rich.text import Text

from demo.state import ROOT

FOLDER = ROOT / "docs/images"
_COLUMNS = 100


def picture(page: Page, name: str) -> None:
    """Writes docs/images/NAME.png if the environment variable is set."""
    if _wanted():
        page.mouse.move(640, 500)
        # Messages that appear and fade out do not belong in the picture.
        expect(page.locator("[data-sonner-toast]")).to_have_count(0)
        page.wait_for_timeout(1500)
        page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


def terminal_picture(browser: Browser, command: str, shown: str, name: str) -> None:
    """The same of a command in a terminal; `shown` is its output with colours."""
    if _wanted():
        console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="256")
        console.print(Text(f"$ {command}"), Text.from_ansi(shown), sep="\n")
        # The picture names a font in the network, and does without it.
        with browser.new_page(viewport={"width": 1100, "height": 600}, offline=True) as page:
            page.set_content(f"<body style='margin: 0'>{console.export_svg(title='Terminal')}</body>")
            page.locator("svg.rich-terminal").screenshot(path=FOLDER / f"{name}.png")


def _wanted() -> bool:
    return os.environ.get("UPDATE_SCREENSHOTS") == "1"
