"""Waits for Open WebUI's reply when an admin's page saves something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page


@contextmanager
def saved(page: Page, path: str) -> Iterator[None]:
    """What the context presses is saved, by a request to a path with this end, when the context ends.

    The page only shows it for some seconds, which a busy machine may miss.
    """
    with page.expect_response(
        lambda reply: reply.request.method == "POST" and _path(reply.url).endswith(path)
    ) as found:
        yield
    assert found.value.ok, found.value.text()


def _path(url: str) -> str:
    return url.partition("?")[0]
