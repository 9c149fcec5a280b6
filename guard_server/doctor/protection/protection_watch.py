"""Repeats the protection check, and tells a webhook when the answer changes."""

import time
from collections.abc import Callable

import httpx

from guard_server.doctor.protection.protection_report import ProtectionReport, impossible_body
from guard_server.errors import WebuiError
from guard_server.open_webui.records import Body

_POST_SECONDS = 10


def watch(
    check: Callable[[], ProtectionReport],
    show: Callable[[ProtectionReport], None],
    say: Callable[[str], None],
    seconds: float,
    webhook: str | None = None,
) -> None:
    """Checks again and again, without end. The first answer counts as a change.

    Args:
        show: gets a report that differs from the one before.
        say: gets a line about what does not work.
        seconds: between two checks.
        webhook: gets the report as JSON, with a line `text` that chat programs show.
    """
    before: ProtectionReport | str | None = None
    # A change that the webhook has not got yet is posted with the next check.
    waiting: Body | None = None
    while True:
        now: ProtectionReport | str
        try:
            report = check()
        except WebuiError as error:
            now = error.cause
            if now != before:
                say(f"The check is not possible: {error.cause} {error.remedy}")
                waiting = impossible_body(error)
        else:
            now = report
            if not isinstance(before, ProtectionReport) or report.differs_from(before):
                show(report)
                waiting = report.as_body()
        before = now
        if webhook is not None and waiting is not None and _posted(webhook, waiting, say):
            waiting = None
        time.sleep(seconds)


def _posted(webhook: str, body: Body, say: Callable[[str], None]) -> bool:
    try:
        httpx.post(webhook, json=body, timeout=_POST_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        say(f"The webhook was not reached ({type(error).__name__}). It is tried again after the next check.")
        return False
    return True
