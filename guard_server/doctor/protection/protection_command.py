"""The protection check as a command."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from guard_server.console_output import err, out
from guard_server.doctor.protection.check import check_protection
from guard_server.doctor.protection.protection_report import ProtectionReport, impossible_body
from guard_server.doctor.protection.protection_table import show_protection
from guard_server.doctor.protection.protection_watch import watch
from guard_server.errors import WebuiError
from guard_server.open_webui.admin_token import read_token
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Body


@dataclass(frozen=True)
class Wanted:
    """The options of the command line. `watch` is in seconds."""

    webui: str
    token_file: Path | None
    user_token_file: Path | None
    as_json: bool
    watch: float | None
    webhook: str | None = field(repr=False)


def check(wanted: Wanted) -> None:
    """Checks once, and ends with status 1 if something failed; or checks again and again.

    Raises:
        WebuiError
    """
    try:
        _check(wanted)
    except WebuiError as error:
        # A script reads JSON whatever happens.
        if wanted.as_json:
            _print_json(impossible_body(error))
        raise


def _check(wanted: Wanted) -> None:
    token = read_token(wanted.token_file)
    user_token = read_token(wanted.user_token_file) if wanted.user_token_file else None

    def look() -> ProtectionReport:
        with WebuiClient(wanted.webui, token) as admin:
            return check_protection(admin, user_token, _progress)

    def show(report: ProtectionReport) -> None:
        if wanted.as_json:
            _print_json(report.as_body())
        else:
            show_protection(report, out)

    if wanted.watch is not None:
        watch(look, show, _progress, wanted.watch, wanted.webhook)
    report = look()
    show(report)
    sys.exit(0 if report.protected else 1)


def _print_json(body: Body) -> None:
    # ASCII, for terminals and pipes in any character set.
    print(json.dumps(body, indent=2), flush=True)


def _progress(line: str) -> None:
    err.print(line, style="dim", markup=False)
