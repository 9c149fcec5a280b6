"""Records everything that a browser window shows and receives over time."""

from __future__ import annotations

from collections.abc import Iterable

from playwright.sync_api import Page, WebSocket

# At each change of the page, before each painted frame, and every 50 ms, so that it also sees changes that no observer
# reports, such as those of the title.
_WATCH = """
(() => {
  let last = "";
  const look = () => {
    const text = `${document.title}\\n${document.body ? document.body.textContent : ""}`;
    if (text !== last) window.recordText((last = text));
  };
  new MutationObserver(look).observe(document, {subtree: true, childList: true, characterData: true});
  const frame = () => { look(); requestAnimationFrame(frame); };
  frame();
  setInterval(look, 50);
})();
"""


class Recorder:
    """Records a page from its next load on, through reloads, until it is closed.

    `screens` has the page's text, including hidden parts; `frames` has the messages of its web sockets, by which
    Open WebUI streams.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.screens: list[str] = []
        self.frames: list[str] = []
        page.expose_binding("recordText", lambda _, text: self.screens.append(text))
        page.add_init_script(_WATCH)
        page.on("websocket", self._listen)

    def showed(self, *words: str) -> set[str]:
        """The words that were on the page at any time so far; upper and lower case are equal."""
        self._catch_up()
        return _found(words, self.screens)

    def received(self, *words: str) -> set[str]:
        """The words that the browser received, shown or not."""
        self._catch_up()
        return _found(words, self.frames)

    def counted(self, text: str) -> set[int]:
        """How many times the text was on the page, at any of the times so far."""
        self._catch_up()
        return {screen.count(text) for screen in self.screens}

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self.frames.append(str(frame)))

    def _catch_up(self) -> None:
        if not self._page.is_closed():
            self._page.wait_for_timeout(100)


def _found(words: Iterable[str], texts: Iterable[str]) -> set[str]:
    lower = [text.lower() for text in texts]
    return {word for word in words if any(word.lower() in text for text in lower)}
