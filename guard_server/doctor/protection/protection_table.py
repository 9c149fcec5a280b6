"""Prints the report of the protection check as one table."""

from collections import Counter
from itertools import groupby

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from guard_server.console_output import counted
from guard_server.doctor.examination import Level
from guard_server.doctor.protection.protection_report import PathFinding, PathState, ProtectionReport

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}


def show_protection(report: ProtectionReport, console: Console) -> None:
    """The settings, then the paths of each model, then a conclusion."""
    # As texts: brackets in a name are no style.
    title = Text(f"Open WebUI {report.version} at {report.url}")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("path or setting", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("why, and what to do about it", overflow="fold", ratio=1)
    for setting in report.settings:
        state = Text(setting.level.value, _STYLES[setting.level])
        table.add_row(Text(setting.setting), state, _words(setting.found, setting.remedy))
    for model, paths in groupby(report.paths, key=lambda path: path.model):
        table.add_section()
        table.add_row(Text(model, "bold"))
        for alike in _alike(list(paths)):
            one = alike[0]
            # Some names have commas.
            names = Padding(Text(" · ".join(path.path for path in alike)), (0, 0, 0, 2))
            table.add_row(names, Text(one.state.value, _STYLES[one.level]), _words(one.why, one.remedy))
    console.print(table, soft_wrap=False)
    console.print(_conclusion(report), style="green" if report.protected else "red", markup=False)


def _alike(paths: list[PathFinding]) -> list[list[PathFinding]]:
    """Paths with the same result share a row."""
    groups: dict[tuple[str, ...], list[PathFinding]] = {}
    for path in paths:
        groups.setdefault((path.state, path.level, path.why, path.remedy or ""), []).append(path)
    return list(groups.values())


def _words(why: str, remedy: str | None) -> Text:
    said = Text(why)
    if remedy is not None:
        said.append(f"\n→ {remedy}", "italic")
    return said


def _conclusion(report: ProtectionReport) -> str:
    count = Counter(path.state for path in report.paths)
    states = ", ".join(f"{count[state]} {state.value}" for state in PathState if count[state])
    if report.protected:
        return f"Users are protected. Paths: {states}."
    return f"{counted(report.failures, 'failure')}. Paths: {states or 'none'}."
