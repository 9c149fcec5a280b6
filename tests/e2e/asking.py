"""A program that asks again and again, to see what passes while plugins are replaced."""

from __future__ import annotations

import threading

from tests.e2e.api_client import streamed_text
from tests.e2e.plain_webui import PlainWebui
from tests.stands.chats import user
from tests.stands.waiting import wait_until


class Asking:
    """Asks a model every 200 ms until the block ends. `unjudged` are the answers with one of the words."""

    def __init__(self, plain: PlainWebui, model: str, prompt: str, words: frozenset[str]) -> None:
        self.plain, self.model, self.prompt, self.words = plain, model, prompt, words
        self.answers: list[str] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        wait_until(lambda: self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        # The second answer from now on was asked for after the block.
        enough = len(self.answers) + 2
        try:
            wait_until(lambda: len(self.answers) >= enough)
        finally:
            self._ends.set()
            self._thread.join()

    def _ask(self) -> None:
        while not self._ends.is_set():
            body = {"model": self.model, "messages": [user(self.prompt)], "stream": True}
            self.answers.append(self.plain.user.http.post("/api/chat/completions", json=body).text)
            self._ends.wait(0.2)

    @property
    def unjudged(self) -> list[str]:
        return [answer for answer in self.answers if any(word in answer.lower() for word in self.words)]

    @property
    def last(self) -> str:
        """The text of the last answer, which was asked for after the block."""
        return streamed_text(self.answers[-1])
