"""Prints a report of `doctor` as a table."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guard_server.doctor.examination import DoctorReport, Level

_MARKS = {
    Level.OK: Text("ok", "green"),
    Level.WARNING: Text("warning", "yellow"),
    Level.FAILURE: Text("FAILURE", "bold red"),
    Level.NOT_CHECKED: Text("not checked", "dim"),
}


def show(report: DoctorReport, console: Console) -> None:
    """Print the findings with their remedies, and a conclusion."""
    table = Table(title=f"{report.model or 'guard'} at {report.url}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found, and what to do about it", overflow="fold")
    about = report.findings[0].about
    for finding in report.findings:
        if finding.about is not about:
            # A separate section for the model's verdicts.
            table.add_section()
            about = finding.about
        said = Text(finding.found)
        if finding.remedy is not None:
            said.append(f"\n→ {finding.remedy}", "italic")
        table.add_row(finding.check, _MARKS[finding.level], said)
    console.print(table, soft_wrap=False)
    count = {level: sum(finding.level is level for finding in report.findings) for level in Level}
    warnings = f"{count[Level.WARNING]} warning{'s' if count[Level.WARNING] != 1 else ''}"
    if report.healthy and report.demonstration:
        console.print(f"These verdicts are a demonstration: do not rely on them. {warnings}.", style="yellow")
    elif report.healthy:
        console.print(f"Verdicts can be relied on. {warnings}.", style="green")
    else:
        failures = f"{count[Level.FAILURE]} failure{'s' if count[Level.FAILURE] != 1 else ''}"
        console.print(f"{failures}, {warnings}: do not rely on this guard until these are solved.", style="red")
