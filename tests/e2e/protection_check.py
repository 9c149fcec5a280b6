"""The protection check as a script runs it, for an admin who has a token in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from demo.stack.stack import Stack
from guard_server import cli
from guard_server.doctor.protection.protection_report import ProtectionReport
from guard_server.doctor.protection.protection_table import show_protection
from tests.stands.waiting import PATIENCE

SEEN_BY_A_FILTER = {"chat page", "API", "API, streamed", "messages API"}
DOCUMENTED = "http://localhost:3000"
AROUND = {"/openai", "/openai, streamed"}


class Checked:
    """A report as a script reads it."""

    def __init__(self, status: int, report: dict[str, Any]) -> None:
        self.status = status
        self.report = report

    @property
    def shown(self) -> str:
        """The table that an admin reads in a terminal, with its colours, at the address of the guides."""
        console = Console(width=100, force_terminal=True, highlight=False)
        with console.capture() as captured:
            show_protection(ProtectionReport.model_validate(self.report | {"url": DOCUMENTED}), console)
        return captured.get()

    def states(self, model: str) -> dict[str, str]:
        return {one["path"]: one["state"] for one in self.report["paths"] if one["model"] == model}

    def why(self, model: str, path: str) -> str:
        (found,) = [one for one in self.report["paths"] if (one["model"], one["path"]) == (model, path)]
        return f"{found['why']} → {found['remedy']}"

    def failed_settings(self) -> dict[str, str]:
        return {one["setting"]: one["found"] for one in self.report["settings"] if one["level"] == "failure"}


def check(stack: Stack, token: Path) -> Checked:
    """The report of one run. `token`: a file for the admin's token."""
    token.write_text(stack.admin.token)
    arguments = ["doctor", "--webui", stack.webui_url, "--token-file", str(token), "--json"]
    arguments += ["--timeout", str(PATIENCE)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code in (0, 1), result.output
    assert stack.admin.token not in result.output
    print(result.output)
    return Checked(result.exit_code, json.loads(result.stdout))
